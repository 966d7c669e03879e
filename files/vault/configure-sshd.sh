#!/bin/sh
# Given a drop-in of sshd's on standard input, its path, and where to note what was loaded: tried together
# with all that sshd reads already; in place only when sshd takes it, and then it is told.
set -eu
part=$(mktemp /run/sshd-trial.XXXXXX); trap 'rm -f "$part" "$part".all' EXIT
cat >"$part"
{ echo "Include $part"; cat /etc/ssh/sshd_config; } >"$part.all"
install -d -m 0755 /run/sshd
"$(command -v sshd || echo /usr/sbin/sshd)" -t -f "$part.all" || {
    echo "$1: sshd refuses it (its reason stands above); nothing was changed" >&2; exit 1; }
grep -qiE '^[[:space:]]*Include[[:space:]].*/etc/ssh/sshd_config\.d/\*\.conf' /etc/ssh/sshd_config || {
    echo "/etc/ssh/sshd_config reads no /etc/ssh/sshd_config.d/*.conf: add that Include as its first line" >&2
    exit 1; }
install -m 0644 "$part" "$1.new"; sync "$1.new"; mv -fT "$1.new" "$1"
systemctl reload ssh
sha256sum <"$1" | cut -d ' ' -f 1 >"$2"
