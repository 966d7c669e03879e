#!/bin/sh
# Whether a unit runs as its files say. Usage: unit-runs.sh UNIT FILE...
# Prints a line for each thing that is not so: stopped, disabled, unread (by systemd), old (started before a file).
unit=$1
shift
systemctl is-active -q "$unit" || echo stopped
systemctl is-enabled -q "$unit" 2>/dev/null || echo disabled
[ "$(systemctl show --value -p NeedDaemonReload "$unit")" = no ] || echo unread
# systemd makes this link anew with each start.
find "$@" -newer "/run/systemd/units/invocation:$unit" 2>/dev/null | grep -q . && echo old
exit 0
