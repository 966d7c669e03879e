# A part of the backup scripts. Managed by the project that deploys this host.
# --- What a restore goes into: looked at before anything is made ----------------------------------------

# The comment of a database while it is filled, as on Debian hosts: a restore that is killed cannot take it away, and
# -List tells of it, whichever host it ran on.
$Unfinished = 'restore-database.sh began '

function Test-Database([string]$Name) {
    return (Invoke-Sql $AppName "SELECT 1 FROM pg_database WHERE datname = $(ConvertTo-SqlText $Name)") -eq '1'
}

# What somebody made in it: whatever the catalogues list that is neither PostgreSQL's own (its object ids are below
# 16384) nor an extension's. A schema "public" may be there or not, and holds nothing by itself; one that was renamed
# has kept its low id. Tests ask both shells for the same text.
$HeldSql = @'
SELECT count(*) FROM (
    SELECT 'pg_class'::regclass AS class, oid FROM pg_class
     WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c')
       AND relnamespace NOT IN (SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_(temp|toast)')
    UNION ALL SELECT 'pg_proc'::regclass, oid FROM pg_proc
    UNION ALL SELECT 'pg_type'::regclass, oid FROM pg_type WHERE typtype IN ('d', 'e', 'r', 'p')
    UNION ALL SELECT 'pg_namespace'::regclass, oid FROM pg_namespace
               WHERE nspname !~ '^pg_' AND nspname NOT IN ('public', 'information_schema')
    UNION ALL SELECT 'pg_largeobject'::regclass, oid FROM pg_largeobject_metadata
    UNION ALL SELECT 'pg_collation'::regclass, oid FROM pg_collation
    UNION ALL SELECT 'pg_conversion'::regclass, oid FROM pg_conversion
    UNION ALL SELECT 'pg_operator'::regclass, oid FROM pg_operator
    UNION ALL SELECT 'pg_opfamily'::regclass, oid FROM pg_opfamily
    UNION ALL SELECT 'pg_am'::regclass, oid FROM pg_am
    UNION ALL SELECT 'pg_cast'::regclass, oid FROM pg_cast
    UNION ALL SELECT 'pg_ts_config'::regclass, oid FROM pg_ts_config
    UNION ALL SELECT 'pg_ts_dict'::regclass, oid FROM pg_ts_dict
    UNION ALL SELECT 'pg_ts_parser'::regclass, oid FROM pg_ts_parser
    UNION ALL SELECT 'pg_ts_template'::regclass, oid FROM pg_ts_template
    UNION ALL SELECT 'pg_foreign_data_wrapper'::regclass, oid FROM pg_foreign_data_wrapper
    UNION ALL SELECT 'pg_foreign_server'::regclass, oid FROM pg_foreign_server
    UNION ALL SELECT 'pg_event_trigger'::regclass, oid FROM pg_event_trigger
    UNION ALL SELECT 'pg_publication'::regclass, oid FROM pg_publication
    UNION ALL SELECT 'pg_subscription'::regclass, 16384 FROM pg_subscription
               WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())) made
 WHERE (oid >= 16384 OR class IN ('pg_largeobject'::regclass, 'pg_namespace'::regclass))
   AND NOT EXISTS (SELECT FROM pg_depend d
                    WHERE d.classid = made.class AND d.objid = made.oid AND d.deptype = 'e')
'@

function Test-Empty([string]$Name) {
    Write-Services $script:RunDir $Name 'postgres'
    return (Invoke-Sql 'target' $HeldSql) -eq '0'
}

# What makes the schema "public", where it was dropped: no dump makes it, for every new database has it.
$PublicSql = @'
SELECT 'CREATE SCHEMA public' || CASE WHEN EXISTS (SELECT FROM pg_roles
        WHERE rolname = 'pg_database_owner' AND pg_has_role(oid, 'MEMBER')) THEN ' AUTHORIZATION pg_database_owner'
        ELSE '' END WHERE to_regnamespace('public') IS NULL
'@

function Add-Public([string]$Name) {
    Write-Services $script:RunDir $Name 'postgres'
    $sql = Invoke-Sql 'target' $PublicSql
    if (-not $sql) { return }
    $null = Invoke-Sql 'target' "$sql; GRANT USAGE ON SCHEMA public TO PUBLIC"
    Write-Log 'INFO' "$Name had no schema public: it has one again"
}

# Extensions of the target that another role has made: their comments are not ours to set.
function Get-Foreign([string]$Name) {
    Write-Services $script:RunDir $Name 'postgres'
    $found = Invoke-Sql 'target' ("SELECT extname FROM pg_extension WHERE extname <> 'plpgsql'" +
        " AND NOT pg_has_role(extowner, 'USAGE')")
    return @($found -split '\r?\n' | Where-Object { $_ })
}

function Test-Superuser {
    return (Invoke-Sql $AppName 'SELECT rolsuper FROM pg_roles WHERE rolname = current_user') -eq 't'
}

# All that stands in the way, at once, before anything is made. `Target` is nothing where it is yet to be made.
function Assert-Possible([hashtable]$Needs, [string]$Target) {
    $told = @(Get-MissingRoles $Needs) + @(Get-MissingExtensions $Needs)
    if (-not (Test-Superuser)) {
        $told += @(Get-OtherOwners $Needs) + @(Get-Untrusted $Needs $Target) + @(Get-Privileged $Needs)
        $told += @(if ($Target) { Get-NoRoom $Target } else { Get-NoRight })
    }
    $told = @($told | Where-Object { $_ })
    if ($told) { Stop-Run "nothing was loaded into ${Into}: $($told -join '; ')" $ExitUsage }
}

function Get-MissingRoles([hashtable]$Needs) {
    $names = ConvertTo-SqlList (@($Needs.Owners.Keys) + @($Needs.Roles.Keys))
    $missing = Invoke-Sql $AppName ("SELECT string_agg(DISTINCT name, ', ') FROM unnest($names) name" +
        ' WHERE name NOT IN (SELECT rolname FROM pg_roles)')
    if (-not $missing) { return }
    $way = if ($NoOwner) { '' } else { ', or -NoOwner does without owners and grants' }
    return ("the server lacks the roles $missing, which the dump names:" +
        " have an administrator make them (CREATE ROLE)$way")
}

# Who may become a superuser for a while can do all of it, and so can what the dump brings.
function Get-TrustingWay {
    return "ALTER ROLE $(ConvertTo-SqlName $PostgresUser) SUPERUSER while you restore a dump that you trust"
}

function Get-OtherOwners([hashtable]$Needs) {
    $names = ConvertTo-SqlList @($Needs.Owners.Keys)
    $others = Invoke-Sql $AppName ("SELECT string_agg(rolname, ', ' ORDER BY rolname) FROM pg_roles" +
        " WHERE rolname = ANY ($names) AND NOT pg_has_role(oid, 'MEMBER')")
    if (-not $others) { return }
    return ("$PostgresUser cannot give objects to their owners ${others}: -NoOwner gives all to $PostgresUser and" +
        " leaves grants out; to keep both, an administrator sets $(Get-TrustingWay)")
}

function Get-MissingExtensions([hashtable]$Needs) {
    $names = ConvertTo-SqlList @($Needs.Extensions.Keys)
    $missing = Invoke-Sql $AppName ("SELECT string_agg(name, ', ' ORDER BY name) FROM unnest($names) name" +
        ' WHERE name NOT IN (SELECT name FROM pg_available_extensions)')
    if ($missing) { return "the server lacks the extensions ${missing}: install them on $PostgresHost" }
}

function Get-Untrusted([hashtable]$Needs, [string]$Target) {
    $names = ConvertTo-SqlList @($Needs.Extensions.Keys)
    $service = if ($Target) { 'target' } else { $AppName }
    $there = if ($Target) { 'true' } else { 'false' }
    # Before PostgreSQL 13 no extension was trusted.
    $found = Invoke-Sql $service ("SELECT string_agg(each, ', ' ORDER BY each) FROM unnest($names) each" +
        ' WHERE each IN (SELECT name FROM pg_available_extensions) AND NOT EXISTS (' +
        ' SELECT FROM pg_available_extension_versions v WHERE name = each' +
        " AND (NOT superuser OR coalesce((to_jsonb(v) ->> 'trusted')::boolean, false)))" +
        " AND NOT ($there AND each IN (SELECT extname FROM pg_extension))")
    if (-not $found) { return }
    return ("only a superuser may make the extensions ${found}: have an administrator make an empty database of" +
        " $PostgresUser's with them (CREATE DATABASE ... OWNER, CREATE EXTENSION) and restore into that, or set" +
        " $(Get-TrustingWay)")
}

function Get-Privileged([hashtable]$Needs) {
    $names = @($Needs.Superuser.Keys | Sort-Object)
    if (-not $names) { return }
    return "only a superuser can load $($names -join ', '): an administrator sets $(Get-TrustingWay)"
}

function Get-NoRight {
    $may = Invoke-Sql $AppName 'SELECT rolcreatedb FROM pg_roles WHERE rolname = current_user'
    if ($may -eq 't') { return }
    return ("$PostgresUser may not create databases: have an administrator run ALTER ROLE" +
        " $(ConvertTo-SqlName $PostgresUser) CREATEDB")
}

# Somebody else's, in which we may not even make a table.
function Get-NoRoom([string]$Target) {
    $may = Invoke-Sql 'target' ("SELECT has_database_privilege(current_database(), 'CREATE')" +
        " OR coalesce(has_schema_privilege(to_regnamespace('public'), 'CREATE'), false)")
    if ($may -ne 't') { return Get-WrongOwner $Target }
}

function Get-WrongOwner([string]$Target) {
    $owner = Get-Owner $Target
    if (-not $owner) { return }
    return ("$Target belongs to another role, ${owner}: have an administrator run ALTER DATABASE" +
        " $(ConvertTo-SqlName $Target) OWNER TO $(ConvertTo-SqlName $PostgresUser)")
}

# Who owns a database that we may not treat as ours; nothing where we may.
function Get-Owner([string]$Database) {
    return Invoke-Sql $AppName ("SELECT pg_get_userbyid(datdba) FROM pg_database" +
        " WHERE datname = $(ConvertTo-SqlText $Database) AND NOT pg_has_role(datdba, 'USAGE')")
}

# What would keep the names from changing places is said now, and not after hours of loading.
function Assert-Swappable([hashtable]$Needs) {
    if ($Needs.Extensions.ContainsKey('pg_cron')) {
        Stop-Run ("pg_cron can be made in one database of a server alone: rename $Into at once" +
            " (ALTER DATABASE ... RENAME), then -Into '$Into' without -Overwrite") $ExitUsage
    }
    if (Test-Superuser) { return }
    $wrong = Get-WrongOwner $Into
    if ($wrong) { Stop-Run $wrong $ExitUsage }
    $others = Invoke-Sql $AppName ("SELECT string_agg(DISTINCT usename, ', ') FROM pg_stat_activity a JOIN pg_roles r" +
        " ON r.oid = usesysid WHERE datname = $(ConvertTo-SqlText $Into) AND NOT pg_has_role(usesysid, 'USAGE')" +
        " AND (rolsuper OR NOT pg_has_role('pg_signal_backend', 'USAGE'))")
    if ($others) {
        Stop-Run ("connected to $Into, and $PostgresUser cannot end that: ${others}: have them disconnect, then run" +
            ' this again') $ExitUsage
    }
}
