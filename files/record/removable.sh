#!/bin/sh
# removable.sh NAME...: of these packages, those that are installed and can go without any other going with them, and
# what apt had installed for their sake alone. A PostgreSQL that somebody has made a server of stays.

export LC_ALL=C
takes() { # what apt-get would take away with these arguments
    apt-get -s -q "$@" 2>/dev/null | sed -n 's/^\(Remv\|Purg\) \([^ ]*\) .*/\2/p' | sort -u
}

# Whether nothing goes with these but what is asked for.
goes_alone() { # NAME...
    for other in $(takes remove "$@"); do
        case $asked in *" $other "*) ;; *) return 1 ;; esac
    done
}

asked=" $* " there='' going=''
for name; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || continue
    case $name in
        postgresql-[0-9]*) pg_lsclusters -h 2>/dev/null | grep -q "^${name#postgresql-} " && continue ;;
    esac
    there="$there $name"
done
[ -n "$there" ] || exit 0
# shellcheck disable=SC2086  # names of packages, none of which has a blank
if goes_alone $there; then
    going=$there
else
    for name in $there; do
        if goes_alone "$name"; then going="$going $name"; fi
    done
fi
[ -n "$going" ] || exit 0
before=" $(takes autoremove | tr '\n' ' ')"
# shellcheck disable=SC2086  # as above
for name in $(takes --auto-remove remove $going); do
    case $before in *" $name "*) ;; *) echo "$name" ;; esac
done
