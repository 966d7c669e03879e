#!/bin/sh
# Given paths: what is at each of them, without following a link, and where a link leads with the way there.
export LC_ALL=C
tell() { # PATH LEADS-TO
  printf '%s\t%s\n' "$(stat --printf '%F\t%a\t%U\t%G\t%n' -- "$1" 2>/dev/null)" "$2"
}
for path; do
  if [ -L "$path" ]; then
    end=$(readlink -f -- "$path")
    tell "$path" "$end"
    while [ -n "$end" ] && [ "$end" != / ]; do
      tell "$end"; end=$(dirname "$end")
    done
  elif [ -e "$path" ]; then
    tell "$path"
  fi
done
