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

# What a program said, without anything that may be a patient's row: only the first line of each error, which begins
# with psql's own place in the file, and of those whose text may hold values the code alone: SQLSTATE classes 22 and P0
# ("invalid input syntax for type date: ..."), 42601 (the word where the syntax is wrong), and whatever a function of the
# dump's has raised, by whichever code. The lines below an error (DETAIL, CONTEXT, HINT, STATEMENT) are not read, but for
# the last, which tells where in PostgreSQL's source it was raised. The words for ERROR are in the server's language.
function Select-Errors([hashtable]$Done) {
    $hidden = 'a value was refused (it is not shown)'
    $said = @()
    foreach ($line in $Done.Errors -split '\r?\n') {
        if ($line -cmatch '^psql:\w+\.sql:(\d+): [^\s:]+ ?:  ?(?!0[0-2])([0-9A-Z]{5}): (.*)$') {
            $number, $code, $text = $Matches[1], $Matches[2], $Matches[3]
            if ($code -cmatch '^(22|P0)') { $text = $hidden }
            if ($code -eq '42601') { $text = 'the syntax is wrong (what stands there is not shown)' }
            $said += "line ${number}: $text ($code)"
        } elseif ($said -and $line -cmatch ' \w+, pl\w+\.c:\d+$') {
            $said[-1] = $said[-1] -creplace '^(line \d+: )?.* \((\w+)\)$', "`$1$hidden (`$2)"
        } elseif ($line -match '^(pg_dump|psql): (error|warning|detail|hint): ') {
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
