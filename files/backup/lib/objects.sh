# shellcheck shell=bash
# A part of the backup scripts. Managed by the project that deploys this host.
# --- The objects of a database: each with all of its definition that a restore must bring back -------------

# Who has what right, as it stands in no order and whoever granted it.
rights_sql() { # ACL KIND OWNER
    printf '%s' "(SELECT string_agg(grants, ',' ORDER BY grants COLLATE \"C\") FROM (
        SELECT format('%s %s%s', CASE grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(grantee)::text END,
                      privilege_type, CASE WHEN is_grantable THEN '*' END) AS grants
          FROM aclexplode(coalesce($1, acldefault('$2', $3)))) each)"
}

# What goes along with an object that is dropped, or that is left out: what is its own, and of a schema all.
readonly what_goes_along="pg_depend d ON d.refclassid = l.classid AND d.refobjid = l.objid
       AND (d.deptype IN ('a', 'i', 'P', 'S')
            OR d.deptype = 'n' AND l.classid = 'pg_namespace'::regclass AND d.classid <> 'pg_extension'::regclass)"

# What the session was told that the dump leaves out: see exclude.sh. A restore was told nothing.
readonly left_out_sql="
left_out AS (
    SELECT split_part(root, ':', 1)::regclass::oid AS classid, split_part(root, ':', 2)::oid AS objid
      FROM unnest(string_to_array(nullif(current_setting('backup.left_out', true), ''), ' ')) root
    UNION SELECT d.classid, d.objid FROM left_out l JOIN $what_goes_along
)"

# What is ours in a database: not PostgreSQL's own, nor what comes with an extension, nor what is left out.
# What a failed CREATE INDEX CONCURRENTLY leaves behind, pg_dump leaves out (its getIndexes).
readonly ours_sql="
$left_out_sql, member AS (
    SELECT classid, objid FROM pg_depend WHERE deptype = 'e' UNION ALL SELECT classid, objid FROM left_out
), ours AS (
    SELECT oid, nspname, nspowner, nspacl FROM pg_namespace
     WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
       AND ('pg_namespace'::regclass, oid) NOT IN (SELECT classid, objid FROM member)
), unfinished AS (
    SELECT indexrelid FROM pg_index i JOIN pg_class t ON t.oid = indrelid
     WHERE NOT (indisready AND (indisvalid OR t.relkind = 'p'))
), relation AS (
    SELECT c.*, format('%I.%I', n.nspname, c.relname) AS name
      FROM pg_class c JOIN ours n ON n.oid = c.relnamespace
     WHERE ('pg_class'::regclass, c.oid) NOT IN (SELECT classid, objid FROM member)
       AND ('pg_type'::regclass, c.reltype) NOT IN (SELECT classid, objid FROM member)    -- of composite types
       AND c.oid NOT IN (SELECT indexrelid FROM unfinished)
)"

# Each object that a restore must bring back, and all of its definition that a restore must not change. What is made
# anew with another name is left to its parent (foreign keys and triggers of partitions), and so is the order of
# columns that are inherited. An expression that was printed and read again has its casts and brackets in other
# places, so they are left out of those.
objects_sql() { # COLUMNS THAT ARE WANTED OF object, line
    # Before PostgreSQL 15 "public" is his who made the server, whatever he is called there.
    local rights made_by="CASE WHEN @ = 10 AND oid < 16384 AND current_setting('server_version_num')::int < 150000 \
THEN 'initdb' ELSE pg_get_userbyid(@)::text END"
    rights=$(rights_sql nspacl n nspowner)
    cat <<SQL
WITH RECURSIVE $ours_sql, definition AS (
    SELECT format('schema %I', nspname) AS object,
           concat_ws(' ', ${made_by//@/nspowner}, ${rights//pg_get_userbyid(grantee)/${made_by//@/grantee}}) AS line
      FROM ours
    UNION ALL
    SELECT format('%s %s', CASE relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table'
                       WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table'
                       WHEN 'S' THEN 'sequence' ELSE 'composite type' END, name),
           concat_ws(' ', relpersistence, relrowsecurity, relforcerowsecurity, relreplident,
               (SELECT string_agg(o, ',' ORDER BY o COLLATE "C") FROM unnest(reloptions) o),
               (SELECT string_agg('toast.' || o, ',' ORDER BY o COLLATE "C") FROM pg_class t, unnest(t.reloptions) o
                 WHERE t.oid = r.reltoastrelid),
               nullif(reloftype, 0)::regtype,
               (SELECT amname FROM pg_am WHERE pg_am.oid = relam AND relkind <> 'S' AND amname <> 'heap'),
               pg_get_expr(relpartbound, r.oid), CASE relkind WHEN 'p' THEN pg_get_partkeydef(r.oid) END,
               (SELECT string_agg(inhparent::regclass::text, ',' ORDER BY inhseqno) FROM pg_inherits
                 WHERE inhrelid = r.oid),
               CASE WHEN relkind IN ('v', 'm') THEN
                   regexp_replace(pg_get_viewdef(r.oid), $loose, '', 'g') END,
               CASE relkind WHEN 'm' THEN relispopulated END,
               (SELECT concat_ws(' ', seqtypid::regtype, seqstart, seqincrement, seqmax, seqmin, seqcache,
                   seqcycle)
                  FROM pg_sequence WHERE seqrelid = r.oid),
               (SELECT concat_ws(' ', srvname, (
                   SELECT string_agg(o, ',' ORDER BY o COLLATE "C") FROM unnest(ftoptions) o))
                  FROM pg_foreign_table f JOIN pg_foreign_server s ON s.oid = ftserver WHERE ftrelid = r.oid),
               pg_get_userbyid(relowner),
               CASE WHEN relkind = 'S' THEN $(rights_sql relacl s relowner)
                    WHEN relkind <> 'c' THEN $(rights_sql relacl r relowner) END)
      FROM relation r WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c')
    UNION ALL
    SELECT format('column %s.%I', name, attname),
           concat_ws(' ', format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated, attstorage,
               nullif(to_jsonb(a) ->> 'attcompression', ''), nullif(attstattarget, -1),
               CASE WHEN attcollation <> typcollation THEN attcollation::regcollation END,
               -- PostgreSQL's own; a server may note a version of its own there, which is no dump's business.
               (SELECT string_agg(o, ',' ORDER BY o) FROM unnest(attoptions) o WHERE o ~ '^n_distinct'),
               (SELECT string_agg(o, ',' ORDER BY o COLLATE "C") FROM unnest(attfdwoptions) o),
               regexp_replace(pg_get_expr(adbin, adrelid), $loose, '', 'g'),
               CASE WHEN attacl IS NOT NULL THEN $(rights_sql attacl c relowner) END)
      FROM relation r JOIN pg_attribute a ON attrelid = r.oid AND attnum > 0 AND NOT attisdropped
      JOIN pg_type t ON t.oid = atttypid
      LEFT JOIN pg_attrdef d ON adrelid = attrelid AND adnum = attnum
     WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'c')
    UNION ALL
    SELECT format('constraint %I of %s', conname, coalesce(name, contypid::regtype::text)),
           regexp_replace(pg_get_constraintdef(k.oid), $loose, '', 'g')
      FROM pg_constraint k JOIN ours n ON n.oid = connamespace LEFT JOIN relation r ON r.oid = conrelid
     WHERE conparentid = 0 AND contype NOT IN ('n', 't') AND (conrelid = 0 OR r.oid IS NOT NULL)
       AND ('pg_type'::regclass, contypid) NOT IN (SELECT classid, objid FROM member)
    UNION ALL
    SELECT format('index %s', indexrelid::regclass),
           concat_ws(' ', regexp_replace(pg_get_indexdef(indexrelid), $loose, '', 'g'), indisclustered,
               indisreplident, (SELECT string_agg(attnum || ' ' || attstattarget, ',' ORDER BY attnum)
                                  FROM pg_attribute WHERE attrelid = indexrelid AND attstattarget >= 0))
      FROM pg_index JOIN relation r ON r.oid = indrelid
     WHERE indexrelid NOT IN (SELECT indexrelid FROM unfinished)
    UNION ALL
    SELECT format('function %s', p.oid::regprocedure),
           concat_ws(' ', CASE
               WHEN prokind = 'a'
                   THEN (SELECT (to_jsonb(g) - '{aggfnoid,aggtranstype,aggmtranstype,aggsortop}'::text[])
                   ::text || aggtranstype::regtype || aggmtranstype::regtype || aggsortop::regoperator
                   FROM pg_aggregate g WHERE aggfnoid = p.oid)
               WHEN to_jsonb(p) ->> 'prosqlbody' IS NULL THEN pg_get_functiondef(p.oid)
               ELSE regexp_replace(pg_get_functiondef(p.oid), $loose, '', 'g') END,
               pg_get_userbyid(proowner), $(rights_sql proacl f proowner))
      FROM pg_proc p JOIN ours n ON n.oid = pronamespace
     WHERE ('pg_proc'::regclass, p.oid) NOT IN (SELECT classid, objid FROM member)
       -- A range type brings its constructors with it.
       AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_proc'::regclass AND objid = p.oid
           AND deptype = 'i')
    UNION ALL
    SELECT format('trigger %I of %s', tgname, name),
           concat_ws(' ', regexp_replace(pg_get_triggerdef(t.oid), $loose, '', 'g'), tgenabled)
      FROM pg_trigger t JOIN relation r ON r.oid = tgrelid
     WHERE NOT tgisinternal AND coalesce(to_jsonb(t) ->> 'tgparentid', '0') = '0'
    UNION ALL
    SELECT format('rule %I of %s', rulename, name),
           concat_ws(' ', regexp_replace(pg_get_ruledef(w.oid), $loose, '', 'g'), ev_enabled)
      FROM pg_rewrite w JOIN relation r ON r.oid = ev_class WHERE rulename <> '_RETURN'
    UNION ALL
    SELECT format('policy %I of %s', polname, name),
           concat_ws(' ', polcmd, polpermissive, regexp_replace(pg_get_expr(polqual, polrelid), $loose, '',
               'g'),
               regexp_replace(pg_get_expr(polwithcheck, polrelid), $loose, '', 'g'),
               (SELECT string_agg(CASE o WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(o)::text END, ','
                                  ORDER BY pg_get_userbyid(o) COLLATE "C") FROM unnest(polroles) o))
      FROM pg_policy JOIN relation r ON r.oid = polrelid
    UNION ALL
    SELECT format('type %s', t.oid::regtype),
           concat_ws(' ', typtype, format_type(nullif(typbasetype, 0), typtypmod), typnotnull,
               regexp_replace(pg_get_expr(typdefaultbin, 0), $loose, '', 'g'),
               CASE WHEN typtype = 'd' THEN typcollation::regcollation END,
               (SELECT string_agg(quote_literal(enumlabel), ',' ORDER BY enumsortorder)
                  FROM pg_enum WHERE enumtypid = t.oid),
               (SELECT concat_ws(' ', rngsubtype::regtype, nullif(rngcollation, 0)::regcollation, rngsubdiff)
                  FROM pg_range WHERE rngtypid = t.oid),
               pg_get_userbyid(typowner), $(rights_sql typacl T typowner))
      FROM pg_type t JOIN ours n ON n.oid = typnamespace LEFT JOIN pg_class c ON c.oid = typrelid
     WHERE typtype IN ('d', 'e', 'r', 'c') AND coalesce(relkind, 'c') = 'c'
       AND ('pg_type'::regclass, t.oid) NOT IN (SELECT classid, objid FROM member)
    UNION ALL
    SELECT format('statistics %I.%I', nspname, stxname),
           concat_ws(' ', regexp_replace(pg_get_statisticsobjdef(s.oid), $loose, '', 'g'),
               nullif(to_jsonb(s) ->> 'stxstattarget', '-1'), pg_get_userbyid(stxowner))
      FROM pg_statistic_ext s JOIN ours n ON n.oid = stxnamespace
     WHERE ('pg_statistic_ext'::regclass, s.oid) NOT IN (SELECT classid, objid FROM member)
    UNION ALL
    SELECT format('collation %I.%I', nspname, collname),
           concat_ws(' ', to_jsonb(c) - '{oid,collnamespace,collowner,collversion}'::text[],
               pg_get_userbyid(collowner))
      FROM pg_collation c JOIN ours n ON n.oid = collnamespace
     WHERE ('pg_collation'::regclass, c.oid) NOT IN (SELECT classid, objid FROM member)
    UNION ALL
    SELECT format('text search configuration %I.%I', nspname, cfgname),
           concat_ws(' ', CASE WHEN cfgparser < 16384 THEN cfgparser::oid::text ELSE (
                   SELECT format('%I.%I', p.prsnamespace::regnamespace, p.prsname) FROM pg_ts_parser p
                    WHERE p.oid = cfgparser) END, pg_get_userbyid(cfgowner), (
               SELECT string_agg(concat_ws(' ', maptokentype, mapdict::regdictionary), ','
                                 ORDER BY maptokentype, mapseqno) FROM pg_ts_config_map WHERE mapcfg = c.oid))
      FROM pg_ts_config c JOIN ours n ON n.oid = cfgnamespace
     WHERE ('pg_ts_config'::regclass, c.oid) NOT IN (SELECT classid, objid FROM member)
    UNION ALL
    SELECT format('text search dictionary %I.%I', nspname, dictname),
           concat_ws(' ', dictinitoption, pg_get_userbyid(dictowner))
      FROM pg_ts_dict d JOIN ours n ON n.oid = dictnamespace
     WHERE ('pg_ts_dict'::regclass, d.oid) NOT IN (SELECT classid, objid FROM member)
    UNION ALL
    SELECT format('operator %s', o.oid::regoperator),
           concat_ws(' ', oprcode, nullif(oprcom, 0)::regoperator, nullif(oprnegate, 0)::regoperator,
               oprrest, oprjoin,
               oprcanmerge, oprcanhash, pg_get_userbyid(oprowner))
      FROM pg_operator o JOIN ours n ON n.oid = oprnamespace
     WHERE ('pg_operator'::regclass, o.oid) NOT IN (SELECT classid, objid FROM member) AND oprcode <> 0
    UNION ALL
    SELECT format('cast %s as %s', castsource::regtype, casttarget::regtype),
           concat_ws(' ', nullif(castfunc, 0)::regprocedure, castcontext, castmethod)
      FROM pg_cast c WHERE oid >= 16384
       AND ('pg_cast'::regclass, c.oid) NOT IN (SELECT classid, objid FROM member)
       AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_cast'::regclass AND objid = c.oid
           AND deptype = 'i')
    UNION ALL
    SELECT format('foreign server %I', srvname),
           concat_ws(' ', fdwname, srvtype, srvversion, (
               SELECT string_agg(o, ',' ORDER BY o COLLATE "C") FROM unnest(srvoptions) o), pg_get_userbyid(srvowner),
               $(rights_sql srvacl S srvowner))
      FROM pg_foreign_server s JOIN pg_foreign_data_wrapper w ON w.oid = srvfdw
    UNION ALL
    SELECT format('foreign-data wrapper %I', fdwname),
           concat_ws(' ', nullif(fdwhandler, 0)::regproc, nullif(fdwvalidator, 0)::regproc, (
               SELECT string_agg(o, ',' ORDER BY o COLLATE "C") FROM unnest(fdwoptions) o), pg_get_userbyid(fdwowner),
               $(rights_sql fdwacl F fdwowner))
      FROM pg_foreign_data_wrapper w WHERE ('pg_foreign_data_wrapper'::regclass, w.oid) NOT IN (
          SELECT classid, objid FROM member)
    UNION ALL
    -- What it says, such as a password, is its owner's to read, and in the dump of nobody else.
    SELECT format('user mapping of %I for %I', srvname, usename), '' FROM pg_user_mappings
    UNION ALL
    SELECT format('language %I', lanname),
           concat_ws(' ', lanpltrusted, nullif(lanplcallfoid, 0)::regproc, nullif(laninline, 0)::regproc,
               nullif(lanvalidator, 0)::regproc, pg_get_userbyid(lanowner), $(rights_sql lanacl l lanowner))
      FROM pg_language l WHERE oid >= 16384
       AND ('pg_language'::regclass, l.oid) NOT IN (SELECT classid, objid FROM member)
    UNION ALL
    SELECT format('access method %I', amname), concat_ws(' ', amtype, amhandler)
      FROM pg_am a WHERE oid >= 16384 AND ('pg_am'::regclass, a.oid) NOT IN (SELECT classid, objid FROM member)
    UNION ALL
    SELECT format('transform of %s for %I', trftype::regtype, lanname),
           concat_ws(' ', nullif(trffromsql, 0)::regproc, nullif(trftosql, 0)::regproc)
      FROM pg_transform f JOIN pg_language l ON l.oid = trflang
     WHERE ('pg_transform'::regclass, f.oid) NOT IN (SELECT classid, objid FROM member)
    UNION ALL
    SELECT format('conversion %I.%I', nspname, conname),
           concat_ws(' ', pg_encoding_to_char(conforencoding), pg_encoding_to_char(contoencoding), conproc, condefault,
               pg_get_userbyid(conowner))
      FROM pg_conversion c JOIN ours n ON n.oid = connamespace
     WHERE ('pg_conversion'::regclass, c.oid) NOT IN (SELECT classid, objid FROM member)
    UNION ALL
    SELECT format('text search parser %I.%I', nspname, prsname),
           concat_ws(' ', prsstart, prstoken, prsend, prsheadline, prslextype)
      FROM pg_ts_parser p JOIN ours n ON n.oid = prsnamespace
     WHERE ('pg_ts_parser'::regclass, p.oid) NOT IN (SELECT classid, objid FROM member)
    UNION ALL
    SELECT format('text search template %I.%I', nspname, tmplname), concat_ws(' ', tmplinit, tmpllexize)
      FROM pg_ts_template p JOIN ours n ON n.oid = tmplnamespace
     WHERE ('pg_ts_template'::regclass, p.oid) NOT IN (SELECT classid, objid FROM member)
    UNION ALL
    SELECT format('operator class %I.%I for %I', nspname, opcname, amname),
           concat_ws(' ', opcintype::regtype, opcdefault, nullif(opckeytype, 0)::regtype, pg_get_userbyid(opcowner), (
               SELECT string_agg(concat_ws(' ', amopstrategy, amopopr::regoperator, amopsortfamily <> 0), ','
                                 ORDER BY amopstrategy, amopopr::regoperator::text COLLATE "C")
                 FROM pg_amop WHERE amopfamily = opcfamily), (
               SELECT string_agg(concat_ws(' ', amprocnum, amproc::regprocedure), ','
                                 ORDER BY amprocnum, amproc::regprocedure::text COLLATE "C")
                 FROM pg_amproc WHERE amprocfamily = opcfamily))
      FROM pg_opclass c JOIN ours n ON n.oid = opcnamespace JOIN pg_am a ON a.oid = opcmethod
     WHERE ('pg_opclass'::regclass, c.oid) NOT IN (SELECT classid, objid FROM member)
    UNION ALL
    -- There may be millions: all of them are one.
    SELECT 'large objects', concat_ws(' ', count(*), sum(('x' || left(md5(one), 8))::bit(32)::bigint)) FROM (
        SELECT concat_ws(' ', l.oid, pg_get_userbyid(lomowner), $(rights_sql lomacl L lomowner),
                         obj_description(l.oid, 'pg_largeobject')) AS one FROM pg_largeobject_metadata l) each
     HAVING count(*) > 0
    UNION ALL
    SELECT format('event trigger %I', evtname),
           concat_ws(' ', evtevent, evtfoid::regprocedure, evtenabled, evttags, pg_get_userbyid(evtowner))
      FROM pg_event_trigger e WHERE ('pg_event_trigger'::regclass, e.oid) NOT IN (SELECT classid, objid
          FROM member)
    UNION ALL
    SELECT format('publication %I', pubname),
           concat_ws(' ', to_jsonb(p) - '{oid,pubowner}'::text[], pg_get_userbyid(pubowner), (
               SELECT string_agg(concat_ws(' ', prrelid::regclass, columns, condition), ','
                                 ORDER BY prrelid::regclass::text COLLATE "C")
                 FROM pg_publication_rel JOIN pg_class c ON c.oid = prrelid LEFT JOIN (
                   SELECT pubname, schemaname, tablename,
                          regexp_replace(to_jsonb(v) ->> 'rowfilter', $loose, '', 'g') AS condition,
                          (SELECT string_agg(n, ',' ORDER BY n COLLATE "C")
                             FROM jsonb_array_elements_text(to_jsonb(v) -> 'attnames') n) AS columns
                     FROM pg_publication_tables v) of
                   ON of.pubname = p.pubname AND tablename = relname
                  AND schemaname = (SELECT nspname FROM pg_namespace n WHERE n.oid = relnamespace)
                WHERE prpubid = p.oid AND ('pg_class'::regclass, prrelid) NOT IN (SELECT classid, objid FROM member)), (
               SELECT string_agg(nspname, ',' ORDER BY nspname COLLATE "C")
                 FROM pg_depend d JOIN pg_depend s ON s.classid = d.classid AND s.objid = d.objid
                 JOIN pg_namespace n ON n.oid = s.refobjid
                WHERE d.classid = to_regclass('pg_catalog.pg_publication_namespace') AND d.refobjid = p.oid
                  AND d.refclassid = 'pg_publication'::regclass AND s.refclassid = 'pg_namespace'::regclass))
      FROM pg_publication p
    UNION ALL
    SELECT format('default privileges of %I%s on %s', pg_get_userbyid(defaclrole), ' in ' || n.nspname,
        defaclobjtype),
           $(rights_sql defaclacl r defaclrole)
      FROM pg_default_acl LEFT JOIN ours n ON n.oid = defaclnamespace
     WHERE defaclnamespace = 0 OR n.oid IS NOT NULL
    UNION ALL
    SELECT format('comment on %s %s', i.type, i.identity), description
      FROM pg_description d, pg_identify_object(classoid, objoid, objsubid) i
     WHERE objoid >= 16384 AND classoid NOT IN ('pg_extension'::regclass, 'pg_largeobject'::regclass)
       AND (classoid, objoid) NOT IN (SELECT classid, objid FROM member)
       AND NOT EXISTS (SELECT FROM pg_constraint WHERE classoid = 'pg_constraint'::regclass AND oid = objoid
                                                   AND conparentid <> 0)
)
SELECT $1 FROM definition ORDER BY object COLLATE "C";
SQL
}

# Without a backslash, as all of a session: see postgres-in-container.sh.
readonly loose="'[()]|::(text|character varying|bpchar|character|name)([(][0-9]+[)])?([[][]])?'"

# As the manifest keeps it: enough to tell that it differs. As a person is told of it: its beginning.
# shellcheck disable=SC2034  # what a backup asks for
readonly object_hash="json_build_array('object', object, left(md5(line), 12))"
# shellcheck disable=SC2034  # what a restore test asks for
readonly object_shown="json_build_array('object', object, left(md5(line), 12), left(line, 200))"
