-- What of this database the role that asks cannot dump, in words; nothing where it can dump all. It reads catalogues
-- alone: no policy, view or function of the database's owners runs.
-- Managed by the project that deploys this host: what is changed here is overwritten by the next deploy.
WITH me AS (
    SELECT rolname, rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user
), stored AS (
    SELECT c.oid, format('%I.%I', nspname, relname) AS name, c.relrowsecurity,
           pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT') AS read
      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = relnamespace
     WHERE relkind IN ('r', 'p', 'S') AND nspname !~ '^pg_' AND nspname <> 'information_schema'
), large AS (
    SELECT oid FROM pg_catalog.pg_largeobject_metadata
     WHERE current_setting('lo_compat_privileges') = 'off' AND NOT pg_catalog.pg_has_role(lomowner, 'USAGE')
       AND NOT EXISTS (SELECT FROM pg_catalog.aclexplode(lomacl) WHERE privilege_type = 'SELECT'
                          AND (grantee = 0 OR pg_catalog.pg_has_role(grantee, 'USAGE')))
), found AS (
    SELECT 1 AS at, 'it is a superuser, as whom nothing of the app''s may run' AS what FROM me WHERE rolsuper
    UNION ALL
    SELECT 2, format('it may not read %s of the tables, such as %s', count(*), min(name)) FROM stored WHERE NOT read
    HAVING count(*) > 0
    UNION ALL
    SELECT 3, format('it lacks BYPASSRLS for %s tables with row-level security, such as %s', count(*), min(name))
      FROM stored WHERE relrowsecurity AND pg_catalog.row_security_active(oid) HAVING count(*) > 0
    UNION ALL
    SELECT 4, format('it may not read %s large objects', count(*)) FROM large, me WHERE NOT rolsuper HAVING count(*) > 0
    UNION ALL
    SELECT 5, format('it is not shown the options of %s user mappings', count(*)) FROM pg_catalog.pg_user_mappings
     WHERE umoptions IS NULL HAVING count(*) > 0
)
SELECT coalesce(string_agg(what, ', ' ORDER BY at), '') FROM found;
