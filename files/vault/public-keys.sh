#!/bin/sh
# Given a vault's directory of keys: the public half of each kind that is there, and of this host's own SSH key.
if cd "$1" 2>/dev/null; then
  for kind in ssh sign; do
    if [ -s "$kind" ] && [ -s "$kind.pub" ]; then echo "$kind=$(cut -d " " -f 1,2 "$kind.pub")"; fi
  done
  # More than one key in it is none of ours: they are told together, and are another than the one kept.
  # Where a removal has taken the tool away it is what that wrote beside the key.
  if [ -s age ]; then
    keys=$(age-keygen -y age 2>/dev/null || sed -n 's/^# public key: //p' age)
    echo "age=$(echo "$keys" | paste -sd " ")"
  fi
fi
host=/etc/ssh/ssh_host_ed25519_key.pub
if [ -s "$host" ]; then echo "host=$(cut -d " " -f 1,2 "$host")"; fi
