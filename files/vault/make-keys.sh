#!/bin/sh
# Given a directory and a user: the pairs of keys of a vault are there; the one for SSH is his. Each pair
# aside first, so that one that is half made is never taken for a key.
set -eu; umask 077
cd "$1"
for k in ssh sign; do
    if [ ! -s "$k" ] || [ ! -s "$k.pub" ]; then
        rm -f .new .new.pub
        ssh-keygen -q -t ed25519 -N '' -C "$k" -f .new
        mv .new.pub "$k.pub"; mv .new "$k"
    fi
done
if [ ! -s age ]; then rm -f .new; age-keygen -o .new 2>/dev/null; mv .new age; fi
chown "$2" ssh; sync
