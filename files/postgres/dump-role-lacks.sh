#!/bin/sh
# Asks the PostgreSQL of this host, as its superuser, when it was started, and what the role that makes the dumps
# lacks there. Says nothing where there is none, or where the system's user postgres is not let in (peer).
#   dump-role-lacks.sh PORT ROLE OURS    OURS is the comment that our role has
cd / || exit 0
timeout 20 setpriv --reuid postgres --regid postgres --init-groups \
    psql -X -w -q -A -t -v ON_ERROR_STOP=1 -p "$1" -v role="$2" -v ours="$3" -d postgres \
    2>/dev/null <<'SQL'
SET search_path = pg_catalog, pg_temp;
SELECT 'started=' || extract(epoch FROM pg_postmaster_start_time())
 WHERE (SELECT rolsuper FROM pg_roles WHERE rolname = current_user);
SELECT 'foreign=yes' FROM pg_roles
 WHERE rolname = :'role' AND (rolsuper OR shobj_description(oid, 'pg_authid') IS DISTINCT FROM :'ours');
WITH role AS (SELECT * FROM pg_roles WHERE rolname = :'role')
SELECT 'lacks=' || what FROM (
    SELECT 'there is no role ' || :'role' AS what WHERE NOT EXISTS (SELECT FROM role)
    UNION ALL SELECT 'it may not log in' FROM role WHERE NOT rolcanlogin
    UNION ALL SELECT 'it is valid until ' || rolvaliduntil FROM role WHERE rolvaliduntil < 'infinity'
    UNION ALL SELECT 'it is not in pg_read_all_data' FROM role
               WHERE NOT pg_has_role(oid, (SELECT oid FROM pg_roles WHERE rolname = 'pg_read_all_data'), 'USAGE')
    UNION ALL SELECT 'it has no BYPASSRLS' FROM role WHERE NOT rolbypassrls
    UNION ALL SELECT 'it has not set ' || setting FROM role, unnest(ARRAY['search_path=pg_catalog', 'row_security=off',
                         'default_transaction_read_only=on', 'lo_compat_privileges=on']) setting
               WHERE NOT setting = ANY (coalesce(rolconfig, '{}'))
    UNION ALL SELECT 'it may not connect to ' || datname FROM role, pg_database d
               WHERE datallowconn AND NOT has_database_privilege(role.oid, d.oid, 'CONNECT')) lacks;
SQL
true
