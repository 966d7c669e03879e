#!/bin/sh
# Given a port, pass the questions on standard input to the Redis there, and print its answers. One that is
# just starting, as a package's installation leaves it, refuses connections for a moment: it is asked again.
questions=$(cat)
for _ in $(seq 50); do
  answer=$(printf '%s\n' "$questions" | redis-cli -h 127.0.0.1 -p "$1" 2>&1)
  case $answer in *'Could not connect'*) sleep 0.1 ;; *) break ;; esac
done
printf '%s\n' "$answer"
