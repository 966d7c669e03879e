#!/bin/sh
# Which crontabs of this host, but those of ours, make backups as well: a line for each of their lines, with the
# file, the line's number, when it runs, and the program. The rest of it may hold a password, and stays here.
#
#   APP_NAME

for file in /var/spool/cron/crontabs/* /etc/crontab /etc/cron.d/* /etc/anacrontab; do
    case $file in
        "/etc/cron.d/$1-backup" | "/etc/cron.d/$1-restore-test" | "/etc/cron.d/$1-metrics") continue ;;
    esac
    [ -f "$file" ] || continue
    awk '
        /^[[:space:]]*(#|$)/ || /^[[:space:]]*[A-Za-z_]+[[:space:]]*=/ { next }
        match($0, /backup-database\.sh|pg_dumpall|pg_dump/) {
            program = substr($0, RSTART, RLENGTH)
            when = $1
            if (substr($1, 1, 1) != "@") when = $1 " " $2 " " $3 " " $4 " " $5
            gsub(/[^0-9A-Za-z*,@\/ -]/, "?", when)
            printf "%s\t%d\t%s\t%s\n", FILENAME, FNR, when, program
        }' "$file" || exit
done
