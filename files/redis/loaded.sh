#!/bin/sh
# Waits until the Redis on a loopback port has read its data: as long as it says that it does.
set -eu
while redis-cli -h 127.0.0.1 -p "$1" PING 2>&1 | grep -q LOADING; do sleep 0.5; done
