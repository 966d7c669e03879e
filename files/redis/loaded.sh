#!/bin/sh
# Given a port, and a login on standard input: waits until the Redis there has read its data, as long as it says that
# it does. Whoever is not logged in is told to do that first, whatever it is at.
set -eu
login=$(cat)
while printf '%s\nPING\n' "$login" | redis-cli -h 127.0.0.1 -p "$1" 2>&1 | grep -q LOADING; do sleep 0.5; done
