# shellcheck shell=bash
# A part of the backup scripts. Managed by the project that deploys this host.
# --- The contents of a database, one JSON array a line: its objects, its rows, what a restore of it will need ---

# Each table's rows, counted one table after the other: a lock on each of thousands of tables and their indexes,
# all at once, would be more than a server has room for. A table that cannot be counted is told, and no more.
# For a server where whatever runs may run: whoever plans a query runs functions that a table's owner has put
# into an index or a statistic.
count_sql() { # CONDITION ON table_name
    cat <<SQL
\set ON_ERROR_STOP off
SAVEPOINT counted;
WITH RECURSIVE $ours_sql, counted AS (SELECT name AS table_name FROM relation WHERE relkind = 'r')
SELECT 'SAVEPOINT counting',
       format('SELECT json_build_array(''rows'', %L, (SELECT count(*) FROM ONLY %s))', table_name,
           table_name),
       'ROLLBACK TO SAVEPOINT counting', 'RELEASE SAVEPOINT counting'
  FROM counted WHERE ($1)
\gexec
ROLLBACK TO SAVEPOINT counted;
SELECT json_build_array('asked', json_agg(name)) FROM (
    WITH RECURSIVE $ours_sql, counted AS (SELECT name AS table_name FROM relation WHERE relkind = 'r')
    SELECT table_name AS name FROM counted WHERE ($1)) each;
ROLLBACK TO SAVEPOINT counted;
\set ON_ERROR_STOP on
SQL
}

# The same for the server that is backed up, by COPY as pg_dump reads a table: that plans nothing, and refuses a
# view that has taken the table's name. The statements come from the server, as one line of JSON. Not those that
# are dumped without their rows. Without a backslash of our own: see postgres-in-container.sh; so a table with one
# in its name is told and not counted.
counting_sql() { # CONDITION ON table_name
    cat <<SQL
WITH RECURSIVE $ours_sql, counted AS (
    SELECT oid, name AS table_name FROM relation WHERE relkind = 'r'
       AND NOT coalesce(nullif(current_setting('backup.emptied', true), ''), '[]')::jsonb ? name)
SELECT to_json(concat_ws(chr(10), chr(92) || 'set ON_ERROR_STOP off',
    string_agg(format('SAVEPOINT counting;%sCOPY %s %s TO STDOUT %sg /dev/null%s'
        'SELECT json_build_array(''rows'', %L, :ROW_COUNT);%s'
        'ROLLBACK TO SAVEPOINT counting; RELEASE SAVEPOINT counting;', chr(10), table_name,
        $narrowest_column_sql, chr(92), chr(10), table_name, chr(10)), chr(10))
        FILTER (WHERE strpos(table_name, chr(92)) = 0),
    format('SELECT json_build_array(''asked'', to_json(ARRAY[%s]::text[]));',
        string_agg(quote_literal(translate(table_name, chr(92), '?')), ', ')),
    chr(92) || 'set ON_ERROR_STOP on'))
  FROM counted WHERE ($1);
SQL
}

# Of a table that is counted; it may have none.
readonly narrowest_column_sql="(SELECT format('(%I)', attname) FROM pg_attribute
    WHERE attrelid = counted.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
    ORDER BY attlen < 0, attlen, attnum LIMIT 1)"

# What else a restore must bring back.
readonly besides_sql="
SELECT json_build_array('value', 'large_objects', (SELECT count(*) FROM pg_largeobject_metadata));
SELECT json_build_array('value', 'extensions', (SELECT json_object_agg(extname, extversion)
    FROM pg_extension));
SELECT json_build_array('value', 'encoding', (
    SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database()));"

# What a restore will need: who owns what, every role that is named, extensions that only an administrator may
# make, and what only a superuser can load. Objects of the first superuser stand in no list of dependencies.
# shellcheck disable=SC2034  # what a backup asks for, too
readonly needs_sql="
WITH RECURSIVE $ours_sql, owned AS (
    SELECT nspowner AS owner FROM ours WHERE oid >= 16384
    UNION SELECT relowner FROM relation
    UNION SELECT proowner FROM pg_proc p JOIN ours n ON n.oid = pronamespace
           WHERE ('pg_proc'::regclass, p.oid) NOT IN (SELECT classid, objid FROM member)
    UNION SELECT lomowner FROM pg_largeobject_metadata
    UNION SELECT refobjid FROM pg_shdepend d WHERE refclassid = 'pg_authid'::regclass AND deptype = 'o'
             AND (classid, objid) NOT IN (SELECT classid, objid FROM member)
             AND classid NOT IN ('pg_extension'::regclass, 'pg_subscription'::regclass)
             AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
), named AS (
    SELECT owner AS role FROM owned
    UNION SELECT refobjid FROM pg_shdepend d WHERE refclassid = 'pg_authid'::regclass AND deptype IN ('a',
        'r')
             AND (classid, objid) NOT IN (SELECT classid, objid FROM member)
             AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
), privileged AS (
    SELECT format('function %s in language %s', p.oid::regprocedure, lanname) AS what
      FROM pg_proc p JOIN ours n ON n.oid = pronamespace JOIN pg_language l ON l.oid = prolang
     WHERE NOT lanpltrusted AND prokind <> 'a'
       AND ('pg_proc'::regclass, p.oid) NOT IN (SELECT classid, objid FROM member)
       AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_proc'::regclass AND objid = p.oid
           AND deptype = 'i')
    UNION ALL SELECT format('leakproof function %s', p.oid::regprocedure)
      FROM pg_proc p JOIN ours n ON n.oid = pronamespace
     WHERE proleakproof AND ('pg_proc'::regclass, p.oid) NOT IN (SELECT classid, objid FROM member)
    UNION ALL SELECT pg_describe_object(class, oid, 0) FROM (
        SELECT 'pg_am'::regclass AS class, oid FROM pg_am UNION ALL
        SELECT 'pg_ts_parser'::regclass, oid FROM pg_ts_parser UNION ALL
        SELECT 'pg_ts_template'::regclass, oid FROM pg_ts_template UNION ALL
        SELECT 'pg_opclass'::regclass, oid FROM pg_opclass UNION ALL
        SELECT 'pg_opfamily'::regclass, oid FROM pg_opfamily UNION ALL
        SELECT 'pg_language'::regclass, oid FROM pg_language UNION ALL
        SELECT 'pg_type'::regclass, oid FROM pg_type WHERE typtype = 'b' AND typcategory <> 'A' UNION ALL
        SELECT 'pg_cast'::regclass, c.oid FROM pg_cast c JOIN pg_type s ON s.oid = castsource
          JOIN pg_type t ON t.oid = casttarget WHERE castmethod = 'b' OR NOT EXISTS (
               SELECT FROM pg_roles r WHERE r.oid IN (s.typowner, t.typowner) AND NOT rolsuper)) made
     WHERE oid >= 16384 AND (class, oid) NOT IN (SELECT classid, objid FROM member)
       AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = class AND objid = oid AND deptype = 'i')
    UNION ALL SELECT format('foreign server %I of a wrapper that its owner may not use', srvname)
      FROM pg_foreign_server WHERE NOT has_foreign_data_wrapper_privilege(srvowner, srvfdw, 'USAGE')
    UNION ALL SELECT format('publication %I of schemas', pubname) FROM pg_publication p
     WHERE EXISTS (SELECT FROM pg_depend WHERE classid = to_regclass('pg_catalog.pg_publication_namespace')
                      AND refclassid = 'pg_publication'::regclass AND refobjid = p.oid)
    UNION ALL SELECT format('event trigger %I', evtname) FROM pg_event_trigger e
     WHERE ('pg_event_trigger'::regclass, e.oid) NOT IN (SELECT classid, objid FROM member)
    UNION ALL SELECT format('publication %I of all tables', pubname) FROM pg_publication WHERE puballtables
    UNION ALL SELECT format('foreign-data wrapper %I', fdwname) FROM pg_foreign_data_wrapper w
     WHERE oid >= 16384
       AND ('pg_foreign_data_wrapper'::regclass, w.oid) NOT IN (SELECT classid, objid FROM member)
)
SELECT json_build_array('value', 'needs', json_build_object(
    'owners', (SELECT coalesce(json_agg(rolname ORDER BY rolname), '[]') FROM pg_roles
        JOIN owned ON owner = oid
                WHERE NOT rolsuper AND rolname !~ '^pg_'),
    'superuser_owners', (SELECT coalesce(json_agg(rolname ORDER BY rolname), '[]')
                           FROM pg_roles JOIN owned ON owner = oid WHERE rolsuper),
    'roles', (SELECT coalesce(json_agg(rolname ORDER BY rolname), '[]') FROM pg_roles JOIN named ON role = oid
               WHERE rolname !~ '^pg_'),
    'extensions', (
        SELECT coalesce(json_object_agg(extname, json_build_object('version', extversion,
                   'schema', (SELECT nspname FROM pg_namespace n WHERE n.oid = extnamespace),
                   'trusted', coalesce(NOT superuser OR trusted, false))), '{}')
          FROM pg_extension LEFT JOIN pg_available_extension_versions v ON v.name = extname
              AND version = extversion
         WHERE extname <> 'plpgsql'),
    'tablespaces', (SELECT coalesce(json_agg(DISTINCT spcname), '[]') FROM relation
        JOIN pg_tablespace t ON t.oid = reltablespace WHERE spcname !~ '^pg_'),
    'superuser', (SELECT coalesce(json_agg(what ORDER BY what), '[]') FROM privileged)));"

# What belongs to the database itself, and is in no dump. Names alone: a setting's value can be a key.
# shellcheck disable=SC2034  # what a restore test and a backup ask for, not a plain restore
readonly properties_sql="
SELECT json_build_array('value', 'properties', json_build_object(
    'encoding', pg_encoding_to_char(encoding), 'collate', datcollate, 'ctype', datctype,
    'provider', coalesce(to_jsonb(d) ->> 'datlocprovider', 'c'),
    'locale', coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale'),
    'icu_rules', to_jsonb(d) ->> 'daticurules', 'template', datistemplate,
    'tablespace', (SELECT spcname FROM pg_tablespace t WHERE t.oid = dattablespace AND spcname <> 'pg_default'),
    'connection_limit', datconnlimit, 'owner', pg_get_userbyid(datdba),
    'settings', (SELECT coalesce(json_agg(DISTINCT split_part(c, '=', 1)), '[]')
                   FROM pg_db_role_setting, unnest(setconfig) c WHERE setdatabase = d.oid),
    'grants', (SELECT coalesce(json_agg(DISTINCT CASE grantee WHEN 0 THEN 'PUBLIC'
                          ELSE pg_get_userbyid(grantee)::text END), '[]') FROM aclexplode(datacl))))
  FROM pg_database d WHERE datname = current_database();"

# The same with the values, for a file that nobody else may read.
# shellcheck disable=SC2034  # a backup alone asks for it
readonly private_properties_sql="
SELECT json_build_object(
    'comment', shobj_description(d.oid, 'pg_database'),
    'settings', (SELECT coalesce(json_agg(json_build_object('role', rolname,
                        'name', split_part(c, '=', 1), 'value', substr(c, strpos(c, '=') + 1))), '[]')
                   FROM pg_db_role_setting LEFT JOIN pg_roles r ON r.oid = setrole, unnest(setconfig) c
                  WHERE setdatabase = d.oid),
    'grants', (SELECT json_agg(json_build_object('to', CASE grantee WHEN 0 THEN NULL
                          ELSE pg_get_userbyid(grantee)::text END, 'what', privilege_type, 'again',
                              is_grantable))
                 FROM aclexplode(datacl)))
  FROM pg_database d WHERE datname = current_database();"

# All of it, within the snapshot of a transaction that is open.
contents_sql() { # COLUMNS OF objects_sql, HOW ROWS ARE COUNTED
    printf '%s\n' 'SAVEPOINT contents;' "$besides_sql" "$(objects_sql "$1")" \
        'ROLLBACK TO SAVEPOINT contents;' "$2"
}

# Those lines as one object.
# shellcheck disable=SC2016  # jq's own names
readonly contents_program='
    reduce inputs as $line ({tables: {}, objects: {}};
        if $line[0] == "object" then
            .objects[$line[1]] = $line[2] | if $line[3] then .shown[$line[1]] = $line[3] else . end
        elif $line[0] == "rows" then .tables[$line[1]] = $line[2]
        elif $line[0] == "asked" then .uncounted = (($line[1] // []) - (.tables | keys))
        else .[$line[1]] = $line[2] end)
    | .left_out = ([$ARGS.named.excluded // [] | .[] | (.gone // [])[], (.emptied // [])[]])'

contents_in() { # FILE JQ-ARGUMENT...
    jq --null-input --compact-output "${@:2}" "$contents_program" "$1"
}

# Sequences know no snapshot: a dump may have any value from before to after it. As text, since jq 1.6 rounds
# what has more than 53 bits.
readonly sequences_sql="
    SELECT coalesce(jsonb_object_agg(format('%I.%I', schemaname, sequencename), last_value::text), '{}')
      FROM pg_sequences"

# Names without a schema would hang on the session's search path, and a dump is nobody's reason to wait: nor is the
# compilation of a query of the catalogues. What a database or a role has set changes how constants are printed:
# TimeZone, IntervalStyle, lc_monetary, ...
readonly session_settings="
    SET search_path = ''; SET max_parallel_workers_per_gather = 0; SET jit = off;
    SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres'; SET bytea_output = 'hex';
    SET extra_float_digits = 1; SET lc_monetary = 'C'; SET quote_all_identifiers = off;
    SET xmloption = 'content';
    SET standard_conforming_strings = on; SET row_security = off; SET client_encoding = 'UTF8';
    DO \$\$BEGIN PERFORM set_config(name, '0', false) FROM pg_settings
     WHERE name IN ('statement_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout',
                    'idle_session_timeout'); END\$\$;
"
