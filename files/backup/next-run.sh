#!/bin/sh
# Given the directory of the programs, the user of the backups, cron's files of backups and, if there are any, of
# restore tests: why the next run will not come, a line `idle=...` each; nothing where it will.
hinders() { printf 'idle=%s\n' "$*"; }
systemctl is-active --quiet cron || hinders 'cron does not run'
calls() { # PROGRAM, CRON'S FILE
  [ -f "$2" ] || { hinders "$2 is missing"; return; }
  # cron passes over a file that anybody but root may write.
  [ -n "$(find "$2" -type f -user root ! -perm /022)" ] || hinders "$2 is not root's alone, so cron does not read it"
  grep -q "^[^#].*/$1" "$2" || hinders "no line of $2 runs $1"
}
calls backup-database.sh "$3"
[ -z "${4-}" ] || calls restore-database.sh "$4"
# PAM lets cron run nothing for an account that has expired, or whose password is to be changed: that stands in the
# journal alone. Days since 1970, as in shadow(5).
today=$(($(date +%s) / 86400))
getent shadow "$2" | awk -F : -v today="$today" \
  '$8 != "" && today >= $8 || $3 == "0" || $3 != "" && $5 != "" && today > $3 + $5 { exit 1 }' ||
  hinders "the account $2 has expired, and cron runs nothing for it (chage -E -1 -M -1 -d $today $2 ends that)"
# A pipe in a file's place would be waited for, by every run as well.
odd=$(find -L "$1" ! -type f ! -type d -print -quit 2>/dev/null)
if [ -n "$odd" ]; then
  hinders "$odd is no file: remove it, and deploy again"
  exit 0
fi
for program in backup-database.sh restore-database.sh; do
  "$1/$program" --help >/dev/null 2>&1 || hinders "$1/$program cannot be started"
done
