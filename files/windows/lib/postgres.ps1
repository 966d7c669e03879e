# A part of the backup scripts. Managed by the project that deploys this host.
# --- PostgreSQL: where it is, and which client fits it ------------------------------------------------

# In libpq's own form (PostgreSQL, "The Connection Service File"): a value ends with its line, nothing is quoted.
function New-ServiceText([string]$Section, [string]$Database) {
    return @(
        "[$Section]"
        "dbname=$Database"
        "host=$PostgresHost"
        "port=$PostgresPort"
        "user=$PostgresUser"
        'connect_timeout=10'
        "application_name=$AppName-backup"
        'keepalives_idle=30'
        'keepalives_interval=10'
        'keepalives_count=3'
        # Before whatever the role or the database sets for its sessions.
        'options=-c statement_timeout=0 -c default_transaction_read_only=off'
        if ($PostgresSslMode) { "sslmode=$PostgresSslMode" }
    ) -join "`n"
}

function Write-Services([string]$Directory, [string]$OtherDatabase, [string]$Database = $PostgresDatabase) {
    $text = (New-ServiceText $AppName $Database) + "`n"
    if ($OtherDatabase) { $text += (New-ServiceText 'target' $OtherDatabase) + "`n" }
    [IO.File]::WriteAllText((Join-Path $Directory 'service.conf'), $text, $Utf8)
}

# libpq passes over a password file that it cannot read, without a word.
function Assert-PgPass {
    if (-not (Test-Path -LiteralPath $PgPassFile -PathType Leaf)) {
        Stop-Run "the password file $PgPassFile is missing: deploy again" $ExitUsage
    }
    $wrong = Invoke-Patiently $HeldSeconds {
        $share = [IO.FileShare]::ReadWrite -bor [IO.FileShare]::Delete
        [IO.File]::Open($PgPassFile, 'Open', 'Read', $share).Dispose()
    }
    if ($wrong) {
        Stop-Run "the password file $PgPassFile cannot be read: ${wrong}: end what holds it, then run this again"
    }
}

function ConvertTo-SqlName([string]$Text) { return '"' + $Text.Replace('"', '""') + '"' }

function ConvertTo-SqlText([string]$Text) { return "'" + $Text.Replace("'", "''") + "'" }

function ConvertTo-SqlList([string[]]$Texts) {
    return "ARRAY[$(@($Texts | Where-Object { $_ } | ForEach-Object { ConvertTo-SqlText $_ }) -join ', ')]::text[]"
}

function Invoke-Query([string]$Psql, [string]$Directory, [string]$Service, [string]$Sql) {
    # Whatever has been set on the role or the database: a backslash in quotes is a backslash, pg_database no view of
    # somebody's, and no policy of a table runs its owner's function.
    $text = "SET client_encoding = 'UTF8'; SET standard_conforming_strings = on;" +
        " SET search_path = pg_catalog, pg_temp; SET row_security = off;`n$Sql"
    # psql passes over what follows one in its line: a quote would not end where it seems to.
    if ($text.IndexOf([char]0) -ge 0) { Stop-Run 'a name or a value holds a byte of zero, which PostgreSQL has in none' }
    [IO.File]::WriteAllText((Join-Path $Directory 'query.sql'), $text, $Utf8)
    $arguments = @(
        '--no-psqlrc', '--no-password', '--quiet', '--tuples-only', '--no-align', '--set=ON_ERROR_STOP=1',
        '--set=VERBOSITY=verbose', '--file=query.sql', "--dbname=service=$Service"
    )
    $done = Invoke-Program $Psql $arguments $Directory
    if ($done.Code -ne 0) {
        $said = Select-Errors $done
        Stop-Run "psql: ${said}: $(Get-Advice $done.Errors)"
    }
    return $done.Output
}

# What may be said of an error, by its code and where in PostgreSQL's source it was raised: files/backup/lib/said.sh
# says the same, and why; tests/rules asks both.
$Kinds = @(
    @('P0|38', 'code of the dump refused it'), @('22P04', 'a row has other columns than its table'),
    @('22', 'a value was refused'), @('23502', 'a row lacks a value'),
    @('23503', 'a row refers to one that is not there'), @('23505', 'two rows have the same key'),
    @('23', 'a row breaks a constraint'), @('3F000', 'a schema is not there'), @('42501', 'a right is missing'),
    @('42601', 'the syntax is wrong'), @('42703', 'a column is not there'),
    @('42704', 'a type, a role or another object is not there'), @('42883', 'a function or an operator is not there'),
    @('42P01', 'a table is not there'), @('42(710|723|P0[467])', 'something of that name is there'),
    @('53100', 'the disk is full'), @('', 'the server refused it')
)
$Core = '^(acl|aclchk|aggregatecmds|alter|amcmds|aset|auth|buffile|bufmgr|bufpage|bump|catalog|cluster|
        collationcmds|comment|conversioncmds|copy|createas|dbcommands|deadlock|dependency|dfmgr|domains|
        dropcmds|dsm|dsm_impl|event_trigger|exec(ExprInterp|Indexing|Main|Partition)|extension|fd|fmgr|
        foreign|foreigncmds|functioncmds|generation|guc|guc_funcs|hba|heap|heapam|hio|index|indexcmds|
        inv_api|ipc|lmgr|localbuf|lock|lockcmds|logtape|lsyscache|matview|mcxt|md|miscinit|namespace|
        nbtinsert|nbtsort|nbtutils|objectaddress|opclasscmds|operatorcmds|
        parse_(func|oper|relation|type|utilcmd)|partbounds|
        pg_(aggregate|cast|class|collation|constraint|conversion|enum|namespace|operator|proc|publication|type)|
        policy|postgres|postinit|postmaster|predicate|proc|procarray|proclang|publicationcmds|relation|
        ri_triggers|schemacmds|seclabel|sequence|slab|smgr|statscmds|storage|subscriptioncmds|tablecmds|
        tablespace|trigger|tsearchcmds|tuplesort|tuplesortvariants|tuplestore|typecmds|user|utility|
        variable|view|xact|xlog|xloginsert)\.c$' -replace '\s'

function Select-Kind([string]$Code) {
    foreach ($kind in $Kinds) { if ($Code -cmatch "^($($kind[0]))") { return $kind[1] } }
}

# A name at which a statement cannot be understood may be the word of a damaged row: no row is in a statement that begins
# so, or in what pg_dump indents, without a quote.
function Test-Ours([string]$Below) {
    if ($Below -cnotmatch '(?m)^LINE (.*)') { return $true }
    return $Matches[1] -cmatch '^1: (ALTER|COMMENT|CREATE|DROP|GRANT|REVOKE|SET) |^(?!1:)\d+:    [^'']*$'
}

function Select-Words([string]$Code, [string]$Words, [string]$Below) {
    $file = ''
    if ($Below -cmatch '(?ms).*^LOCATION:  \w+, ([\w.]+):\d+$') { $file = $Matches[1] }
    $inside = $Below -cmatch '(?m)^CONTEXT:  '
    $raised = $file -match '^pl(?!an)'
    if ($Code -cnotmatch '^P0' -and $file -cmatch $Core) {
        if ($Code -cmatch '^(08|23|25|28|40|53|54|55006|55P03|57|58)') { return $Words }
        $names = '^(0A000|2BP01|3D000|3F000|42(70[34]|710|723|809|830|883|P0[1467]|P1[67])|55000|22023 guc\.c$)'
        $ours = "$Code $file" -cmatch $names -and (Test-Ours $Below)
        if (-not $inside -and ($Code -eq '42501' -or $ours)) { return $Words }
    }
    $preload = '^\S{1,63} (must|can only) be (pre)?loaded via "?shared_preload_libraries"?'
    if ($file -and -not $raised -and $Words -cmatch $preload) { return $Words }
    if ($raised) { $kind = Select-Kind 'P0' } else { $kind = Select-Kind $Code }
    if ($inside -and -not $raised -and $Code -cmatch '^(42|3F)') { $kind += ', for code of the dump' }
    return "$kind; the words may hold a row and are not shown"
}

# What a program said: psql's first error, which is the one that ended it, and all below it is of that one. The words
# for ERROR are in the server's language.
function Select-Errors([hashtable]$Done) {
    $text = $Done.Errors -replace '\r\n', "`n"
    $first = '(?ms)^psql:\w+\.sql:(\d+): [^\s:]+ ?:  ?(?!0[0-2])([0-9A-Z]{5}): ([^\n]*)(.*)'
    if ($text -cmatch $first) {
        $number, $code = $Matches[1], $Matches[2]
        return "line ${number}: $(Select-Words $code $Matches[3] $Matches[4]) ($code)"
    }
    $said = @()
    foreach ($line in $text -split '\n') {
        if ($line -match '^(pg_dump|psql): (error|warning|detail|hint): ') {
            if ($line -notmatch 'Command was') { $said += $line }
        } elseif ($line -match '^(pg_dump|psql):.*(connection to server .* failed|could not translate|FATAL: )') {
            $said += $line
        }
    }
    if ($said.Count -eq 0) { return "exit code $(Get-ExitWords $Done.Code)" }
    return ($said | Select-Object -First 5) -join '; '
}

# What to do about an error that PostgreSQL or Windows has given.
function Get-Advice([string]$Text) {
    switch -Regex ($Text) {
        'password authentication failed|no password supplied' {
            return 'put the right postgres_password where the project reads it and deploy, or set it with ALTER ROLE'
        }
        'refused|timeout expired|could not translate host|starting up|shutting down|closed the connection|terminating connection' {
            return "see that PostgreSQL runs on $PostgresHost and answers on port $PostgresPort"
        }
        'startup parameter' {
            return ("a pooler such as PgBouncer answers at ${PostgresHost}:${PostgresPort}: name the server itself in" +
                ' backup_postgres_host and backup_postgres_port')
        }
        'no pg_hba.conf entry' { return "let $PostgresUser in: a line in the server's pg_hba.conf for this host" }
        'does not exist' { return 'correct postgres_database or postgres_user in the settings, or create it' }
        'accessed by other users' { return 'stop the app, then run this again' }
        'could not (open|write|create)[^\n]*: Permission denied' {
            return "see what keeps pg_dump.exe from writing in ${BackupDir}: a virus scanner, or Controlled folder access"
        }
        'permission denied' { return 'grant the role pg_read_all_data, or have the owner of the tables make the dump' }
        # pg_dump's --lock-wait-timeout is a statement_timeout to the server.
        'lock timeout|could not obtain lock|statement timeout' { return 'a migration held a table for long: run this again when it is done' }
        'No space left|not enough space|espace insuffisant' { return "make room on the disk of $BackupDir" }
    }
    return 'fix that, then run this again'
}

# Where pg_dump.exe may be: the one that the settings name, else those of the installer and of Program Files.
function Get-PgDump {
    if ($NamedPgDump) { return @($NamedPgDump) }
    $places = @()
    $keys = 'HKLM:\SOFTWARE\PostgreSQL\Installations\*'
    foreach ($key in @(Get-ItemProperty -Path $keys -Name 'Base Directory' -ErrorAction SilentlyContinue)) {
        $places += [IO.Path]::Combine($key.'Base Directory', 'bin\pg_dump.exe')  # Join-Path refuses a drive that is gone
    }
    if ($env:ProgramFiles) {
        $pattern = Join-Path $env:ProgramFiles 'PostgreSQL\*\bin\pg_dump.exe'
        $places += @(Get-ChildItem -Path $pattern -ErrorAction SilentlyContinue | ForEach-Object { $_.FullName })
    }
    return @($places | Where-Object { Test-Path -LiteralPath $_ } | Select-Object -Unique)
}

function Get-PsqlBeside([string]$PgDump) {
    return Join-Path (Split-Path -Parent $PgDump) ((Split-Path -Leaf $PgDump) -replace 'pg_dump', 'psql')
}

# The client must be of the server's own major version: an older one refuses, and what a newer one writes
# may not restore into this server.
function Select-Client([string]$Directory) {
    $places = @(Get-PgDump)
    if ($places.Count -eq 0 -or -not (Test-Path -LiteralPath $places[0])) {
        Stop-Run "there is no pg_dump.exe: install PostgreSQL's command line tools, or set windows_pg_dump" $ExitUsage
    }
    # A copy of pg_dump.exe alone, or what is left of a PostgreSQL that was removed.
    $whole = @($places | Where-Object { Test-Path -LiteralPath (Get-PsqlBeside $_) })
    if ($whole.Count -eq 0) {
        Stop-Run ("there is no $(Get-PsqlBeside $places[0]), which belongs beside pg_dump: install PostgreSQL's command" +
            ' line tools, or set windows_pg_dump') $ExitUsage
    }
    $places = $whole
    $server = Invoke-Query (Get-PsqlBeside $places[0]) $Directory $AppName 'SHOW server_version'
    $server = $server.Split(' ')[0]
    $known = @()
    foreach ($place in $places) {
        $done = Invoke-Program $place @('--version') $Directory
        $version = $done.Output -replace '^[^0-9]*([0-9.]+).*$', '$1'
        if ($done.Code -eq 0 -and $version.Split('.')[0] -eq $server.Split('.')[0]) {
            Write-Log 'INFO' "server $server on $PostgresHost, pg_dump $version"
            return @{ PgDump = $place; Psql = (Get-PsqlBeside $place); Server = $server; Client = $version }
        }
        $known += $version
    }
    Stop-Run ("the server is PostgreSQL $server, but pg_dump here is $($known -join ' and '): install the command line" +
        " tools of PostgreSQL $($server.Split('.')[0]), or point windows_pg_dump at them") $ExitUsage
}
