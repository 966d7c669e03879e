# A part of the backup scripts. Managed by the project that deploys this host.
# --- What belongs to the database itself, and is in no dump: encoding and sorting, settings, comment, grants

# PowerShell 7 makes a date of text that looks like one: behind a name and "=" it leaves it alone.
$PropertiesSql = @'
SELECT json_build_object(
    'encoding', pg_encoding_to_char(encoding), 'collate', datcollate, 'ctype', datctype,
    'provider', coalesce(to_jsonb(d) ->> 'datlocprovider', 'c'),
    'locale', coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale'),
    'connection_limit', datconnlimit, 'template', datistemplate,
    'comment', 'comment=' || shobj_description(d.oid, 'pg_database'),
    'settings', (SELECT coalesce(json_agg(json_build_object('role', rolname, 'setting', c)), '[]')
                   FROM pg_db_role_setting LEFT JOIN pg_roles r ON r.oid = setrole, unnest(setconfig) c
                  WHERE setdatabase = d.oid),
    'grants', (SELECT json_agg(json_build_object('what', privilege_type, 'again', is_grantable,
                          'to', CASE grantee WHEN 0 THEN NULL ELSE pg_get_userbyid(grantee)::text END))
                 FROM aclexplode(datacl)))
  FROM pg_database d WHERE datname = current_database()
'@

# For the manifest. That they cannot be read keeps nobody from a dump.
function Read-Properties([string]$Psql) {
    try {
        return ConvertFrom-Json -InputObject (Invoke-Query $Psql $script:RunDir $AppName $PropertiesSql)
    } catch {
        Write-Log 'WARN' "what is set on the database itself is not in this backup: $($_.Exception.Message)"
        return $null
    }
}

# Of the dump that is restored; nothing where its manifest has none.
function Get-Properties([string]$Path) {
    $noted = Read-Manifest $Path
    if (-not (Test-Noted $noted 'properties') -or $null -eq $noted.properties) { return $null }
    if (Test-Properties $noted.properties) { return $noted.properties }
    Stop-Run ("its manifest $Path.json is damaged, in what was set on the database itself; the dump is as it was made:" +
        ' remove that file to use the dump without it, or take another dump')
}

function Test-Properties($Found) {
    $names = 'encoding', 'collate', 'ctype', 'provider', 'locale', 'connection_limit', 'comment', 'settings', 'grants'
    if (-not (Test-All @($Found) $names)) { return $false }
    if ("$($Found.encoding)" -cnotmatch '^\w+$' -or "$($Found.connection_limit)" -notmatch '^-?\d{1,9}$') { return $false }
    # Of grants there may be none at all.
    $grants = @($Found.grants | Where-Object { $null -ne $_ })
    return (Test-All @($Found.settings) ('role', 'setting')) -and (Test-All $grants ('what', 'again', 'to'))
}

# Whether each of these has something of all these names.
function Test-All($Each, [string[]]$Names) {
    foreach ($one in $Each) {
        foreach ($name in $Names) {
            if (-not (Test-Noted $one $name)) { return $false }
        }
    }
    return $true
}

# How the dumped database was made.
function Get-Creation($Properties) {
    if (-not $Properties) { return "ENCODING 'UTF8'" }
    $sql = "ENCODING $(ConvertTo-SqlText $Properties.encoding) LC_COLLATE $(ConvertTo-SqlText $Properties.collate)" +
        " LC_CTYPE $(ConvertTo-SqlText $Properties.ctype)"
    switch -CaseSensitive ($Properties.provider) {
        'i' { return "$sql LOCALE_PROVIDER icu ICU_LOCALE $(ConvertTo-SqlText $Properties.locale)" }
        'b' { return "$sql LOCALE_PROVIDER builtin BUILTIN_LOCALE $(ConvertTo-SqlText $Properties.locale)" }
    }
    if ([int]$script:Client.Server.Split('.')[0] -ge 15) { $sql += ' LOCALE_PROVIDER libc' }
    return $sql
}

# As the dumped one was made. Where this server lacks its locale, it is made without, and that is said.
function New-Database([string]$Name, $Properties, [string]$Owner) {
    $make = "CREATE DATABASE $(ConvertTo-SqlName $Name) TEMPLATE template0"
    if ($Owner) { $make += " OWNER $(ConvertTo-SqlName $Owner)" }
    try {
        $null = Invoke-Sql $AppName "$make $(Get-Creation $Properties)"
    } catch {
        if (-not $Properties -or $_.Exception.Message -notmatch 'locale|provider|collation') { throw }
        Write-Log 'WARN' ("$Name is not sorted as it was: $($_.Exception.Message -replace '^psql: '):" +
            ' install that locale on the server and restore again, or live with the server''s own')
        $null = Invoke-Sql $AppName "$make ENCODING $(ConvertTo-SqlText $Properties.encoding)"
    }
    $script:Scratch = $Name
    $now = (Get-Date).ToUniversalTime().ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", $Invariant)
    $null = Invoke-Sql $AppName ("COMMENT ON DATABASE $(ConvertTo-SqlName $Name) IS" +
        " $(ConvertTo-SqlText "$Unfinished$now")")
}

$script:NotSet = @()

# Asked of another database: a setting of this one might keep the next statement from it.
function Set-Property([string]$What, [string]$Sql) {
    try { $null = Invoke-Sql $AppName $Sql } catch { $script:NotSet += $What }
}

# What pg_dumpall sets element by element (variable_is_guc_list_quote in its dumputils.c).
$Lists = @('local_preload_libraries', 'search_path', 'session_preload_libraries', 'shared_preload_libraries',
    'temp_tablespaces', 'unix_socket_directories')

# Before its rows are loaded: a constraint may hang on them, on TimeZone say. A list is set, and taken from there; no other
# setting is, for it would hold for the statement that sets it: a timeout, say.
function Set-Settings([string]$Database, $Properties) {
    if (-not $Properties) { return }
    foreach ($each in @($Properties.settings)) {
        $name, $value = "$($each.setting)".Split([char[]]'=', 2)
        $place = "DATABASE $(ConvertTo-SqlName $Database)"
        $what = "the setting $name"
        if ($each.role) {
            $place = "ROLE $(ConvertTo-SqlName $each.role) IN $place"
            $what += " of $($each.role)"
        }
        $quoted = @($name.Split('.') | ForEach-Object { ConvertTo-SqlName $_ }) -join '.'
        if ($Lists -contains $name) {
            $set = "set_config($(ConvertTo-SqlText $name), $(ConvertTo-SqlText $value), false)"
            Set-Property $what "BEGIN; SELECT $set; ALTER $place SET $quoted FROM CURRENT; COMMIT"
        } else {
            Set-Property $what "ALTER $place SET $quoted TO $(ConvertTo-SqlText $value)"
        }
    }
}

# The rest, when it is filled. What cannot be set by this role is named; its value goes into no message.
function Set-Properties([string]$Database, $Properties) {
    if (-not $Properties) { return }
    $on = "DATABASE $(ConvertTo-SqlName $Database)"
    if ($Properties.comment) {
        $comment = $Properties.comment -creplace '^comment=', ''
        Set-Property 'its comment' "COMMENT ON $on IS $(ConvertTo-SqlText $comment)"
    }
    if ($Properties.grants) { Set-Grants $on $Properties.grants }
    if ($Properties.connection_limit -ge 0) {
        Set-Property 'its connection limit' "ALTER $on CONNECTION LIMIT $([int]$Properties.connection_limit)"
    }
    if (Test-Template $Properties) { Set-Property 'being a template' "ALTER $on IS_TEMPLATE true" }
    if ($script:NotSet) {
        Write-Log 'WARN' ("$Database lacks of what was set on it: $($script:NotSet -join ', '): an administrator can" +
            ' set that; the manifest beside the dump has the values')
    }
}

# An earlier version's manifest does not say.
function Test-Template($Properties) {
    return (Test-Noted $Properties 'template') -and $Properties.template -eq $true
}

function Set-Grants([string]$On, $Grants) {
    Set-Property 'that not everybody may connect' "REVOKE ALL ON $On FROM PUBLIC"
    foreach ($grant in @($Grants)) {
        $to = if ($grant.to) { $grant.to } else { 'PUBLIC' }
        if ($grant.what -cnotmatch '^[A-Z]+$') { continue }
        $sql = "GRANT $($grant.what) ON $On TO $(if ($grant.to) { ConvertTo-SqlName $to } else { $to })"
        if ($grant.again) { $sql += ' WITH GRANT OPTION' }
        Set-Property "$($grant.what) for $to" $sql
    }
}

# One that stood there before has its own encoding and sorting: these cannot be changed.
function Write-OtherSorting([string]$Database, $Properties) {
    if (-not $Properties) { return }
    $now = ConvertFrom-Json -InputObject (Invoke-Sql 'target' $PropertiesSql)
    $was = Format-Sorting $Properties
    if ($was -cne (Format-Sorting $now)) {
        Write-Log 'WARN' ("$Database has the encoding and sorting $(Format-Sorting $now), the dumped one had ${was}:" +
            ' drop it and let the restore make it to have those')
    }
}

function Format-Sorting($Properties) {
    $all = $Properties.encoding, $Properties.collate, $Properties.ctype, $Properties.locale
    return @($all | Where-Object { $_ }) -join ', '
}
