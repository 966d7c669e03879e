# Restore a dump of $AppName into a database on $PostgresHost, port $PostgresPort.
#
#   restore-database.ps1 -List                         the dumps there are, newest first, and what restores have left
#   restore-database.ps1 -Into NAME                    restore the newest into the database NAME,
#                                                      which is empty, or is created
#   restore-database.ps1 -Into NAME -From FILE         restore that one
#   restore-database.ps1 -Into NAME -Overwrite NAME    NAME holds data: restore beside it, then swap names;
#                                                      the old one stays as NAME_before_<time>
#       -NoOwner   all belongs to the role that restores: no owners, no grants
#   restore-database.ps1 -Help                         this text
#
# Run as an administrator. It connects as $PostgresUser, which must own the database NAME, or may create
# databases (ALTER ROLE ... CREATEDB). FILE is a path, or a name as -List shows it.
#
# Exit codes: 0 done; 1 failed, and the data that was there is untouched; 2 wrong arguments or set-up.
#
# Managed by the project that deploys this host: what is changed here is overwritten by the next deploy.

[CmdletBinding(PositionalBinding = $false)]
param(
    [switch]$List,
    [string]$Into = '',
    [string]$From = '',
    [string]$Overwrite = '',
    [switch]$NoOwner,
    [switch]$Help
)

Set-StrictMode -Version 2
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'

$library = Join-Path $PSScriptRoot 'lib'
foreach ($part in 'settings', 'base', 'postgres', 'rules', 'store', 'sift', 'properties', 'target') {
    $path = Join-Path $library "$part.ps1"
    if (-not (Test-Path -LiteralPath $path)) {
        [Console]::Error.WriteLine("$path is missing: see whether a virus scanner has it in quarantine and have it let" +
            ' be there, then deploy again')
        exit 2
    }
    . $path
}

# --- This run -----------------------------------------------------------------------------------------

$script:RunDir = $null
$script:Held = $null
$script:Scratch = $null
$script:Client = $null
$script:Properties = $null

function Read-Arguments {
    if (-not $List -and -not $Into) { Stop-Run 'say where: -Into NAME (-List shows what there is, -Help the rest)' $ExitUsage }
    if ($Overwrite -and $Overwrite -cne $Into) {
        Stop-Run "-Overwrite '$Overwrite' is not -Into '$Into': give the same name twice" $ExitUsage
    }
    if ($Into -match '[\x00-\x1f]' -or $Into.Trim() -cne $Into) { Stop-Run "'$Into' is no name for a database" $ExitUsage }
    if ((Get-Within $Into '') -cne $Into) {
        Stop-Run "-Into '$Into' is longer than the 63 bytes that PostgreSQL has for a name" $ExitUsage
    }
}

# A name and its ending, the name shortened to what PostgreSQL would keep (NAMEDATALEN): it cuts a longer one off
# without a word, and would then take another database for this one.
function Get-Within([string]$Name, [string]$Ending) {
    while ($Utf8.GetByteCount("$Name$Ending") -gt 63) {
        $less = if ($Name.Length -gt 1 -and [char]::IsSurrogate($Name[-1])) { 2 } else { 1 }
        $Name = $Name.Substring(0, $Name.Length - $less)
    }
    return "$Name$Ending"
}

function Show-Dumps {
    [Console]::Out.WriteLine(('{0,-8} {1,9} {2,12}  {3}' -f 'TIER', 'AGE', 'SIZE', 'FILE'))
    foreach ($tier in 'daily', 'weekly') {
        foreach ($dump in (Get-Dumps $tier)) {
            $hours = [int]((Get-Date) - (Get-StampTime $dump.Name)).TotalHours
            $size = Format-Size $dump.Length
            $mark = if (Test-Suspect $dump.FullName) { '  suspect' } else { '' }
            [Console]::Out.WriteLine(('{0,-8} {1,8}h {2,12}  {3}{4}' -f $tier, $hours, $size, $dump.FullName, $mark))
        }
    }
}

# What an earlier -Overwrite has kept, and what one that was ended has left. Where the server does not answer, the dumps
# are listed all the same.
function Show-Leftovers {
    $stamp = '_\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d$'
    try {
        New-RunDir
        $script:Client = @{ Psql = Get-PsqlBeside (@(Get-PgDump)[0]) }
        $found = Invoke-Sql $AppName ("SELECT CASE WHEN datname ~ '_before$stamp' THEN 'kept' WHEN EXISTS (SELECT" +
            " FROM pg_stat_activity a WHERE a.datname = d.datname AND usesysid IS NOT NULL) THEN 'at work'" +
            " ELSE 'cut off' END || '=' || translate(datname, E'\r\n', '  ') FROM pg_database d" +
            " WHERE datname ~ '_(before|restored)$stamp'" +
            " OR starts_with(shobj_description(oid, 'pg_database'), $(ConvertTo-SqlText $Unfinished)) ORDER BY datname")
    } catch {
        return
    }
    foreach ($line in @($found -split '\r?\n' | Where-Object { $_ })) {
        # It goes to a terminal, and whoever may make a database has named it.
        $state, $name = ($line -replace '[\x00-\x1f\x7f-\x9f]', ' ') -split '=', 2
        $why = switch ($state) {
            'kept' { "kept by -Overwrite; DROP DATABASE $(ConvertTo-SqlName $name) takes it away" }
            'cut off' { "left by a restore that was cut off; DROP DATABASE $(ConvertTo-SqlName $name) takes it away" }
            'at work' { 'of a restore that is at work' }
        }
        [Console]::Out.WriteLine("database ${name}: $why")
    }
}

function New-RunDir {
    $script:RunDir = Join-Path $BackupDir ('.restore-' + [Guid]::NewGuid().ToString('N'))
    $null = New-Item -ItemType Directory -Path $script:RunDir
    # So that a backup meanwhile does not take it for one that was killed.
    $script:Held = [IO.File]::Open((Join-Path $script:RunDir '.held'), 'Create', 'ReadWrite', 'None')
    # Not the app's database: it may be what was lost.
    Write-Services $script:RunDir '' 'postgres'
}

function Select-Dump {
    $script:Step = 'choose'
    if (-not $From) {
        # While another program holds `latest` it stays the dump before; in the hour that autumn repeats, or after a leap
        # of the clock, it was made last, whatever the names say.
        $named = if (Test-Path -LiteralPath $Latest) { Get-NamedLatest }
        $newest = Get-Past | Where-Object { -not (Test-Bare $_.FullName) } | Select-Object -First 1
        if (-not $newest) {
            if (-not $named) { Stop-Run 'there is no good dump: make a backup, or name a file with -From' }
            return $named
        }
        $isLater = $named -and $named -ne $Latest -and (Split-Path -Leaf $named) -gt $newest.Name
        if ($isLater -and -not (Test-Bare $named)) { return $named }
        return $newest.FullName
    }
    $path = Find-Dump $From
    if ($path -eq $Latest) { return Get-NamedLatest }
    return $path
}

function Expand-Dump([string]$Path) {
    $script:Step = 'check'
    Write-Log 'INFO' "reading all of $Path, $(Format-Size (Get-Item -LiteralPath $Path).Length)"
    $wrong = Test-Dump $Path
    if ($wrong) { Stop-Run "$Path cannot be used: $wrong. Take another one, see -List" }
    $source = [IO.File]::OpenRead($Path)
    try {
        $target = New-Object IO.FileStream (Join-Path $script:RunDir 'restore.sql'), 'CreateNew', 'Write', 'None'
        try {
            $gzip = New-Object IO.Compression.GZipStream $source, ([IO.Compression.CompressionMode]::Decompress)
            $gzip.CopyTo($target, 1mb)
        } finally {
            $target.Dispose()
        }
    } finally {
        $source.Dispose()
    }
}

function Invoke-Sql([string]$Service, [string]$Sql) {
    return Invoke-Query $script:Client.Psql $script:RunDir $Service $Sql
}

# A dump is text that psql reads, and psql runs what follows a backslash: `\!` a program, as who restores. In its
# restricted mode (the minor releases of August 2025 and later: CVE-2025-8714) it takes no such command; without it a
# dump is not given to it.
function Test-Restricted {
    $key = [Guid]::NewGuid().ToString('N')
    [IO.File]::WriteAllText((Join-Path $script:RunDir 'query.sql'), "\restrict $key`n\unrestrict $key`n", $Utf8)
    $arguments = @('--no-psqlrc', '--no-password', '--quiet', '--set=ON_ERROR_STOP=1', '--file=query.sql', "--dbname=service=$AppName")
    return (Invoke-Program $script:Client.Psql $arguments $script:RunDir).Code -eq 0
}

function Assert-Restricted {
    if (Test-Restricted) { return }
    Stop-Run ("psql $($script:Client.Client) would run commands that a dump may hold, as you: install PostgreSQL's" +
        ' newest minor release, which can be kept from that (August 2025 or later)') $ExitUsage
}

function Import-Dump([string]$Name) {
    $script:Step = 'load'
    Set-Settings $Name $script:Properties
    Write-Services $script:RunDir $Name 'postgres'
    $arguments = @(
        '--no-psqlrc', '--no-password', '--quiet', '--set=ON_ERROR_STOP=1', '--set=VERBOSITY=verbose',
        '--file=restricted.sql', '--output=restore.out', '--dbname=service=target'
    )
    $done = Invoke-Program $script:Client.Psql $arguments $script:RunDir
    if ($done.Code -ne 0) {
        $way = 'fix that, and restore into an empty database'
        $said = Select-Errors $done
        if ($said -cmatch '^(?!.*code of the dump).*\(42501\)$' -and -not $NoOwner) {
            $way = "-NoOwner gives all to $PostgresUser; or $way"
        }
        Stop-Run "the restore into $Name failed: ${said}: $way"
    }
    if ($script:Scratch) { $null = Invoke-Sql $AppName "COMMENT ON DATABASE $(ConvertTo-SqlName $Name) IS NULL" }
    Set-Properties $Name $script:Properties
}

# The live database serves until the restored one stands beside it; then their names change places.
function Switch-Database {
    $stamp = (Get-Date).ToString($StampFormat, $Invariant)
    $old = Get-Within $Into "_before_$stamp"
    $new = Get-Within $Into "_restored_$stamp"
    $owner = Invoke-Sql $AppName ('SELECT pg_get_userbyid(datdba) FROM pg_database' +
        " WHERE datname = $(ConvertTo-SqlText $Into)")
    New-Database $new $script:Properties $owner
    Import-Dump $new
    $script:Step = 'swap'
    Switch-Names $old $new
    $script:Scratch = $null
    Write-Log 'INFO' "what was there before is now the database ${old}: drop it when it is not needed any more"
}

# Both in one transaction. RENAME itself keeps new sessions out and ends autovacuum; only clients that we may end are
# ended here, and those that come back in between are ended again.
function Switch-Names([string]$Old, [string]$New) {
    $sql = "BEGIN;
        SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = $(ConvertTo-SqlText $Into)
           AND pid <> pg_backend_pid() AND backend_type = 'client backend'
           AND ((SELECT rolsuper FROM pg_roles WHERE rolname = current_user) OR pg_has_role(usesysid, 'USAGE')
                OR pg_has_role('pg_signal_backend', 'USAGE')
                   AND NOT (SELECT rolsuper FROM pg_roles r WHERE r.oid = usesysid));
        ALTER DATABASE $(ConvertTo-SqlName $Into) RENAME TO $(ConvertTo-SqlName $Old);
        ALTER DATABASE $(ConvertTo-SqlName $New) RENAME TO $(ConvertTo-SqlName $Into);
        COMMIT"
    foreach ($try in 1..12) {
        try {
            $null = Invoke-Sql $AppName $sql
            return
        } catch {
            if ($try -eq 12 -or $_.Exception.Message -notmatch '55006') { throw }
            Write-Log 'INFO' "$Into is still in use: trying again"
        }
    }
}

# What the database holds, and what the dump needs, is known before anything is made.
function Invoke-Restore {
    New-RunDir
    Assert-PgPass
    $dump = Select-Dump
    Expand-Dump $dump
    $script:Step = 'restore'
    $script:Client = Select-Client $script:RunDir
    Assert-Restricted
    $way = Select-Way
    $needs = Read-Needs $way
    $script:Properties = Get-Properties $dump
    switch ($way) {
        'new' { New-Database $Into $script:Properties; Import-Dump $Into }
        'fill' { Write-OtherSorting $Into $script:Properties; Add-Public $Into; Import-Dump $Into }
        'swap' { Assert-Swappable $needs; Switch-Database }
    }
    $script:Scratch = $null
    $script:Step = 'done'
    Write-Log 'INFO' "$Into is restored from $dump"
}

# Into a database that is made, into one that is empty, or into the place of one that holds data.
function Select-Way {
    if (-not (Test-Database $Into)) { return 'new' }
    if (($Into -cne $PostgresDatabase -or $Overwrite) -and (Test-Empty $Into)) { return 'fill' }
    if ($Overwrite) { return 'swap' }
    Stop-Run ("$Into is live or holds data: to replace it, give its name twice:" +
        " -Into '$Into' -Overwrite '$Into'") $ExitUsage
}

function Read-Needs([string]$Way) {
    $script:Step = 'check'
    $target = if ($Way -eq 'fill') { $Into } else { '' }
    $foreign = @(if ($target) { Get-Foreign $target })
    $sql = Join-Path $script:RunDir 'restore.sql'
    $needs = Copy-Restricted $sql (Join-Path $script:RunDir 'restricted.sql') $NoOwner $foreign
    Remove-Item -LiteralPath $sql -Force
    Assert-Possible $needs $target
    $script:Step = 'restore'
    return $needs
}

function Clear-Run {
    if ($script:Scratch) {
        $name = ConvertTo-SqlName $script:Scratch
        # A template is not dropped.
        $first = if (Test-Template $script:Properties) { "ALTER DATABASE $name IS_TEMPLATE false; " } else { '' }
        try {
            $null = Invoke-Sql $AppName "${first}DROP DATABASE IF EXISTS $name"
        } catch {
            Write-Log 'WARN' "the database $script:Scratch is left over: drop it"
        }
    }
    if ($script:Held) { $script:Held.Dispose() }
    if ($script:RunDir) { Remove-Item -LiteralPath $script:RunDir -Recurse -Force -ErrorAction SilentlyContinue }
}

if ($Help) {
    Show-Usage $PSCommandPath
    exit 0
}
$script:Subject = 'restore'
try {
    Read-Arguments
    if ($List) {
        Show-Dumps
        Show-Leftovers
    } else {
        Invoke-Restore
    }
    $script:ExitCode = 0
} catch {
    $said = $_.Exception.Message
    if ($_.Exception.GetBaseException() -is [IO.IOException]) { $said += ": $(Get-Advice $said)" }
    Write-Log 'ERROR' $said
} finally {
    Clear-Run
}
exit $script:ExitCode
