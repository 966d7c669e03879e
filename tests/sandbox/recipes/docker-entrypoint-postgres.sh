#!/bin/bash
# As the real image's, as far as a sandbox needs it: a first start makes the cluster, the role and the database
# of POSTGRES_USER, POSTGRES_PASSWORD (or _FILE) and POSTGRES_DB; then the server runs as the user postgres.
set -euo pipefail
case ${1:-} in -*) set -- postgres "$@" ;; esac
# While we are still root, who may be the only one to read it.
[ -z "${POSTGRES_PASSWORD_FILE:-}" ] || export POSTGRES_PASSWORD="$(<"$POSTGRES_PASSWORD_FILE")"
unset POSTGRES_PASSWORD_FILE
if [ "$1" = postgres ] && [ "$(id -u)" = 0 ]; then
    mkdir -p "$PGDATA" /run/postgresql
    chown -R postgres:postgres "$PGDATA" /run/postgresql
    chmod 0700 "$PGDATA"
    exec setpriv --reuid=postgres --regid=postgres --clear-groups -- "$0" "$@"
fi
if [ "$1" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
    : "${POSTGRES_USER:=postgres}" "${POSTGRES_DB:=$POSTGRES_USER}" "${POSTGRES_HOST_AUTH_METHOD:=scram-sha-256}"
    # Only who asks for no passwords may give none.
    [ "$POSTGRES_HOST_AUTH_METHOD" = trust ] || : "${POSTGRES_PASSWORD:?is not set}"
    # Inside the container everybody is let in, as by the real image.
    # shellcheck disable=SC2086 # initdb's arguments, split at blanks as the real image splits them
    initdb --username="$POSTGRES_USER" --pwfile=<(printf '%s\n' "${POSTGRES_PASSWORD:-unused}") \
        --auth=trust --no-instructions ${POSTGRES_INITDB_ARGS:-}
    echo "host all all all $POSTGRES_HOST_AUTH_METHOD" >> "$PGDATA/pg_hba.conf"
    pg_ctl --wait --options="-c listen_addresses=''" start
    [ "$POSTGRES_DB" = postgres ] || createdb --username="$POSTGRES_USER" --maintenance-db=template1 -- "$POSTGRES_DB"
    pg_ctl --wait --mode=fast stop
fi
[ "$1" != postgres ] || set -- "$@" -c 'listen_addresses=*'
exec "$@"
