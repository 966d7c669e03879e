#!/bin/sh
# What of Redis' firewall is not as its file and unit say. Usage: firewall-loaded.sh FILE TABLE UNIT DROP-IN
# Prints a line for each difference: table, unit. The file is read into a network namespace of its own, so that nft
# tells both tables in the same words.
file=$1 table=$2 unit=$3 drop_in=$4
# shellcheck disable=SC2016  # the inner shell's arguments
tell='nft -s -t list table inet "$2" && nft -s list set inet "$2" allowed4 && nft -s list set inet "$2" allowed6'
loaded=$(sh -c "$tell" tell "$file" "$table" 2>/dev/null)
if unshare --net true 2>/dev/null; then
  wanted=$(unshare --net sh -c "nft -f \"\$1\" && $tell" tell "$file" "$table" 2>&1)
else
  wanted=${loaded:-none}  # a container that may make no namespace: whether the table is there has to do
fi
[ "$wanted" = "$loaded" ] || echo table
systemctl is-active -q "$unit" && systemctl is-enabled -q "$unit" &&
  ! systemctl show -P NeedDaemonReload "$unit" nftables.service | grep -qx yes &&
  systemctl show -P DropInPaths nftables.service | tr ' ' '\n' | grep -qxF "$drop_in" || echo unit
exit 0
