# Restore a dump of $AppName into a database on $PostgresHost, port $PostgresPort.
#
#   restore-database.ps1 -List                         the dumps there are, newest first
#   restore-database.ps1 -Into NAME                    restore the newest into the database NAME,
#                                                      which is empty, or is created
#   restore-database.ps1 -Into NAME -From FILE         restore that one
#   restore-database.ps1 -Into NAME -Overwrite NAME    NAME holds data: restore beside it, then swap names;
#                                                      the old one stays as NAME_before_<time>
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
    [switch]$Help
)

Set-StrictMode -Version 2
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'

$library = Join-Path $PSScriptRoot 'lib'
. (Join-Path $library 'settings.ps1')
. (Join-Path $library 'base.ps1')
. (Join-Path $library 'postgres.ps1')
. (Join-Path $library 'rules.ps1')
. (Join-Path $library 'store.ps1')

# --- This run -----------------------------------------------------------------------------------------

$script:RunDir = $null
$script:Scratch = $null
$script:Client = $null

function Read-Arguments {
    if (-not $List -and -not $Into) { Stop-Run 'say where: -Into NAME (-List shows what there is, -Help the rest)' $ExitUsage }
    if ($Overwrite -and $Overwrite -cne $Into) {
        Stop-Run "-Overwrite '$Overwrite' is not -Into '$Into': give the same name twice" $ExitUsage
    }
    if ($Into -match '[\x00-\x1f]' -or $Into.Trim() -cne $Into) { Stop-Run "'$Into' is no name for a database" $ExitUsage }
}

function Show-Dumps {
    [Console]::Out.WriteLine(('{0,-8} {1,9} {2,12}  {3}' -f 'TIER', 'AGE', 'SIZE', 'FILE'))
    foreach ($tier in 'daily', 'weekly') {
        foreach ($dump in (Get-Dumps $tier)) {
            $hours = [int]((Get-Date) - (Get-StampTime $dump.Name)).TotalHours
            $size = Format-Size $dump.Length
            [Console]::Out.WriteLine(('{0,-8} {1,8}h {2,12}  {3}' -f $tier, $hours, $size, $dump.FullName))
        }
    }
}

# A path; or the name of a dump of ours, in whichever tier it lies.
function Select-Dump {
    $script:Step = 'choose'
    if (-not $From) {
        if (-not (Test-Path -LiteralPath $Latest)) { Stop-Run "there is no ${Latest}: make a backup, or name a file with -From" }
        return $Latest
    }
    foreach ($path in $From, (Join-Path (Get-TierDir 'daily') $From), (Join-Path (Get-TierDir 'weekly') $From)) {
        if (Test-Path -LiteralPath $path -PathType Leaf) { return (Get-Item -LiteralPath $path).FullName }
    }
    Stop-Run "cannot read ${From}: -List shows the dumps there are" $ExitUsage
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

function ConvertTo-SqlName([string]$Text) { return '"' + $Text.Replace('"', '""') + '"' }

function ConvertTo-SqlText([string]$Text) { return "'" + $Text.Replace("'", "''") + "'" }

function Invoke-Sql([string]$Service, [string]$Sql) {
    return Invoke-Query $script:Client.Psql $script:RunDir $Service $Sql
}

function Test-Database([string]$Name) {
    return (Invoke-Sql $AppName "SELECT 1 FROM pg_database WHERE datname = $(ConvertTo-SqlText $Name)") -eq '1'
}

# What somebody made in it, extensions' objects aside: relations, functions, types, large objects, schemas.
function Test-Empty([string]$Name) {
    Write-Services $script:RunDir $Name 'postgres'
    $sql = "
        WITH made AS (
            SELECT oid, relnamespace AS place FROM pg_class
            UNION ALL SELECT oid, pronamespace FROM pg_proc
            UNION ALL SELECT oid, typnamespace FROM pg_type WHERE typtype IN ('d', 'e', 'r')
            UNION ALL SELECT oid, oid FROM pg_namespace WHERE nspname <> 'public'
        )
        SELECT (SELECT count(*) FROM pg_largeobject_metadata) + count(*)
          FROM made JOIN pg_namespace n ON n.oid = made.place
         WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
           AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = made.oid AND d.deptype = 'e')"
    return (Invoke-Sql 'target' $sql) -eq '0'
}

function New-Database([string]$Name) {
    $null = Invoke-Sql $AppName "CREATE DATABASE $(ConvertTo-SqlName $Name) TEMPLATE template0 ENCODING 'UTF8'"
    $script:Scratch = $Name
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

# The dump, with our own \restrict before it and without the one of pg_dump, which would end ours.
function Write-Restricted([string]$From, [string]$To) {
    $key = [Guid]::NewGuid().ToString('N')
    $latin = [Text.Encoding]::GetEncoding(28591)  # each byte is one character, and comes out as it went in
    $reader = New-Object IO.StreamReader $From, $latin, $false
    $writer = New-Object IO.StreamWriter $To, $false, $latin
    try {
        $writer.Write("\restrict $key`n")
        $theirs = ''
        while ($null -ne ($line = $reader.ReadLine())) {
            if (-not $theirs -and $line -cmatch '^\\restrict ([A-Za-z0-9]+)$') {
                $theirs = "\unrestrict $($Matches[1])"
            } elseif (-not $theirs -or $line -cne $theirs) {
                $writer.Write($line + "`n")
            }
        }
        $writer.Write("\unrestrict $key`n")
    } finally {
        $writer.Dispose()
        $reader.Dispose()
    }
}

function Import-Dump([string]$Name) {
    $script:Step = 'load'
    if (-not (Test-Restricted)) {
        Stop-Run ("psql $($script:Client.Client) would run commands that a dump may hold, as you: install PostgreSQL's" +
            ' newest minor release, which can be kept from that (August 2025 or later)') $ExitUsage
    }
    Write-Services $script:RunDir $Name 'postgres'
    Write-Restricted (Join-Path $script:RunDir 'restore.sql') (Join-Path $script:RunDir 'restricted.sql')
    $arguments = @(
        '--no-psqlrc', '--no-password', '--quiet', '--set=ON_ERROR_STOP=1', '--set=VERBOSITY=verbose',
        '--file=restricted.sql', '--output=restore.out', '--dbname=service=target'
    )
    $done = Invoke-Program $script:Client.Psql $arguments $script:RunDir
    if ($done.Code -ne 0) {
        Stop-Run "the restore into $Name failed: $(Select-Errors $done): mend that, and restore into an empty database"
    }
}

# The live database serves until the restored one stands beside it; then their names change places.
function Switch-Database {
    $stamp = (Get-Date).ToString($StampFormat, $Invariant)
    $old = "${Into}_before_$stamp"
    $new = "${Into}_restored_$stamp"
    New-Database $new
    Import-Dump $new
    $script:Step = 'swap'
    # Both renames or neither.
    $null = Invoke-Sql $AppName "BEGIN;
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $(ConvertTo-SqlText $Into)
           AND pid <> pg_backend_pid() AND backend_type = 'client backend';
        ALTER DATABASE $(ConvertTo-SqlName $Into) RENAME TO $(ConvertTo-SqlName $old);
        ALTER DATABASE $(ConvertTo-SqlName $new) RENAME TO $(ConvertTo-SqlName $Into);
        COMMIT"
    $script:Scratch = $null
    Write-Log 'INFO' "what was there before is now the database ${old}: drop it when it is not needed any more"
}

function Invoke-Restore {
    $script:RunDir = Join-Path $BackupDir ('.restore-' + [Guid]::NewGuid().ToString('N'))
    $null = New-Item -ItemType Directory -Path $script:RunDir
    # Not the app's database: it may be what was lost.
    Write-Services $script:RunDir '' 'postgres'
    $dump = Select-Dump
    Expand-Dump $dump
    $script:Step = 'restore'
    $script:Client = Select-Client $script:RunDir
    if (-not (Test-Database $Into)) {
        New-Database $Into
        Import-Dump $Into
        $script:Scratch = $null
    } elseif (($Into -cne $PostgresDatabase -or $Overwrite) -and (Test-Empty $Into)) {
        Import-Dump $Into
    } elseif (-not $Overwrite) {
        Stop-Run ("$Into is live or holds data: to replace it, give its name twice:" +
            " -Into '$Into' -Overwrite '$Into'") $ExitUsage
    } else {
        Switch-Database
    }
    $script:Step = 'done'
    Write-Log 'INFO' "$Into is restored from $dump"
}

function Clear-Run {
    if ($script:Scratch) {
        try {
            $null = Invoke-Sql $AppName "DROP DATABASE IF EXISTS $(ConvertTo-SqlName $script:Scratch)"
        } catch {
            Write-Log 'WARN' "the database $script:Scratch is left over: drop it"
        }
    }
    if ($script:RunDir) { Remove-Item -LiteralPath $script:RunDir -Recurse -Force -ErrorAction SilentlyContinue }
}

if ($Help) {
    Show-Usage $PSCommandPath
    exit 0
}
$script:Subject = 'restore'
try {
    Read-Arguments
    if ($List) { Show-Dumps } else { Invoke-Restore }
    $script:ExitCode = 0
} catch {
    Write-Log 'ERROR' $_.Exception.Message
} finally {
    Clear-Run
}
exit $script:ExitCode
