#!/bin/sh
# Finish an installation that was interrupted. Wait, up to five minutes, for whoever holds dpkg's lock:
# often what an interrupted deploy left running.
n=0
until said=$(LC_ALL=C DEBIAN_FRONTEND=noninteractive dpkg --force-confold --configure -a 2>&1); do
    case $said in *lock*) n=$((n + 1)) ;; *) n=300 ;; esac
    [ "$n" -lt 300 ] || { echo "$said" >&2; exit 1; }
    sleep 1
done
