# shellcheck shell=bash
# A part of the backup scripts. Managed by the project that deploys this host.
# --- The contents of a database, as one line of JSON ----------------------------------------------------

# What a restore must bring back: each table's number of rows, large objects, extensions, and the schema as
# a checksum over the definition of each column, constraint, index, view, function, trigger, type, policy.
# An extension's own objects come with it, so they are left out. Exact within the snapshot that it runs in.
contents_sql() { # CONDITION ON table_name
    cat <<SQL
WITH ours AS (
    SELECT oid, nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
), member AS (
    SELECT classid, objid FROM pg_depend WHERE deptype = 'e'
), unfinished AS (
    -- What a failed CREATE INDEX CONCURRENTLY leaves behind, and pg_dump leaves out (its getIndexes).
    SELECT indexrelid FROM pg_index i JOIN pg_class t ON t.oid = indrelid
     WHERE NOT (indisready AND (indisvalid OR t.relkind = 'p'))
), relation AS (
    SELECT c.oid, c.relkind, format('%I.%I', n.nspname, c.relname) AS table_name
      FROM pg_class c JOIN ours n ON n.oid = c.relnamespace
     WHERE ('pg_class'::regclass, c.oid) NOT IN (SELECT classid, objid FROM member)
       AND c.oid NOT IN (SELECT indexrelid FROM unfinished)
), counted AS (
    SELECT table_name, (xpath('/row/n/text()', query_to_xml(
               format('SELECT count(*) AS n FROM ONLY %s', table_name), false, true, ''
           )))[1]::text::bigint AS rows
      FROM relation WHERE relkind = 'r' AND ($1)
), definition AS (
    SELECT format('relation %s %s', table_name, relkind) AS line FROM relation
    UNION ALL
    SELECT format('column %s.%I %s %s %s%s %s', table_name, attname, format_type(atttypid, atttypmod),
                  attnotnull, attidentity, attgenerated, pg_get_expr(adbin, adrelid))
      FROM relation r JOIN pg_attribute a ON attrelid = r.oid AND attnum > 0 AND NOT attisdropped
      LEFT JOIN pg_attrdef d ON adrelid = attrelid AND adnum = attnum
     WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'c')
    UNION ALL
    SELECT format('constraint %s %I %s', coalesce(table_name, contypid::regtype::text), conname,
                  pg_get_constraintdef(k.oid))
      FROM pg_constraint k JOIN ours n ON n.oid = connamespace LEFT JOIN relation r ON r.oid = conrelid
    UNION ALL
    SELECT pg_get_indexdef(indexrelid) FROM pg_index JOIN relation r ON r.oid = indrelid
     WHERE indexrelid NOT IN (SELECT indexrelid FROM unfinished)
    UNION ALL
    SELECT format('view %s %s', table_name, pg_get_viewdef(oid)) FROM relation WHERE relkind IN ('v', 'm')
    UNION ALL
    SELECT pg_get_functiondef(p.oid) FROM pg_proc p JOIN ours n ON n.oid = pronamespace
     WHERE prokind IN ('f', 'p', 'w')
       AND ('pg_proc'::regclass, p.oid) NOT IN (SELECT classid, objid FROM member)
    UNION ALL
    SELECT pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN relation r ON r.oid = tgrelid
     WHERE NOT tgisinternal
    UNION ALL
    SELECT format('policy %s %I %s %s %s', table_name, polname, polcmd, pg_get_expr(polqual, polrelid),
                  pg_get_expr(polwithcheck, polrelid)) FROM pg_policy JOIN relation r ON r.oid = polrelid
    UNION ALL
    SELECT format('enum %s %s', enumtypid::regtype,
                  string_agg(quote_literal(enumlabel), ',' ORDER BY enumsortorder))
      FROM pg_enum WHERE ('pg_type'::regclass, enumtypid) NOT IN (SELECT classid, objid FROM member)
     GROUP BY enumtypid
), normal AS (
    -- An expression that was printed and read again has its casts and brackets in other places.
    SELECT regexp_replace(line, '[()]|::(text|character varying)(\[\])?', '', 'g') AS line FROM definition
)
SELECT jsonb_build_object(
    'tables', (SELECT coalesce(jsonb_object_agg(table_name, rows), '{}') FROM counted),
    'large_objects', (SELECT count(*) FROM pg_largeobject_metadata),
    'extensions', (SELECT jsonb_object_agg(extname, extversion) FROM pg_extension),
    'schema_sha256', (
        SELECT encode(sha256(convert_to(string_agg(line, E'\n' ORDER BY line COLLATE "C"), 'UTF8')), 'hex')
          FROM normal),
    'encoding', (SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database())
);
SQL
}

# Sequences know no snapshot: a dump may have any value from before to after it. As text, since jq 1.6 rounds
# what has more than 53 bits.
readonly sequences_sql="
    SELECT coalesce(jsonb_object_agg(format('%I.%I', schemaname, sequencename), last_value::text), '{}')
      FROM pg_sequences;"

# Names without a schema would hang on the session's search path, and a dump is nobody's reason to wait.
readonly session_settings="
    SET search_path = ''; SET max_parallel_workers_per_gather = 0; SET statement_timeout = 0;
    SET idle_in_transaction_session_timeout = 0;"
