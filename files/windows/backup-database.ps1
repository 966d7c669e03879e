# Back up the database $PostgresDatabase of $AppName.
#
#   backup-database.ps1 [-Tier daily|weekly] [-RetentionDays N]   dump, check, publish, remove what is too old
#       -WaitMinutes N                                            wait so long for another run to end
#   backup-database.ps1 -Verify [-File PATH]                      check a stored dump again, by default the newest
#   backup-database.ps1 -Accept FILE                          what a suspect dump lacks was meant to go: it is good
#   backup-database.ps1 -Help                                     this text
#
# Run as an administrator, or by the Task Scheduler. The tiers:
#   daily    $BackupDir, kept $DailyRetentionDays days (the default)
#   weekly   $BackupDir\weekly, kept $WeeklyRetentionDays days
# BACKUP_RETENTION_DAYS in the environment, or -RetentionDays, replaces the days of this run. The newest
# $DailyMinimumKept daily and $WeeklyMinimumKept weekly good ones always stay. $Latest
# is the newest good dump (a hard link to it, or a copy): never a suspect one, that is one more than
# $SizeChangePercent % smaller than the last ones, or that lacks a table or so much of one, until it is accepted.
#
# Exit codes: 0 done; 1 failed, nothing was published; 2 wrong arguments or set-up; 3 published, but something was left
# undone: the dump is suspect, or old dumps not removed, the log, the status or `latest` not written (another program
# holds them); 75 another run is at work. The Task Scheduler shows the code as the last result.
#
# Managed by the project that deploys this host: what is changed here is overwritten by the next deploy.

[CmdletBinding(PositionalBinding = $false)]
param(
    [string]$Tier = 'daily',
    [string]$RetentionDays = '',
    [int]$WaitMinutes = 0,
    [switch]$Verify,
    [string]$File = '',
    [string]$Accept = '',
    [switch]$Help
)

Set-StrictMode -Version 2
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'

$library = Join-Path $PSScriptRoot 'lib'
foreach ($part in 'settings', 'base', 'postgres', 'rules', 'store', 'sift', 'rows', 'properties') {
    $path = Join-Path $library "$part.ps1"
    if (-not (Test-Path -LiteralPath $path)) {
        [Console]::Error.WriteLine("$path is missing: see whether a virus scanner has it in quarantine and have it let" +
            ' be there, then deploy again')
        exit 2
    }
    . $path
}

# --- This run -----------------------------------------------------------------------------------------

$StatusFile = Join-Path $BackupDir "status-$Tier.json"
$script:RunDir = $null
$script:Part = $null
$script:Lock = $null
$script:Published = $null
$script:Suspect = $null
$script:Rows = $null
$script:Properties = $null
$script:Began = Get-Date
$script:Watch = [Diagnostics.Stopwatch]::StartNew()  # it knows no summer time

function Read-Arguments {
    if ($Tier -ne 'daily' -and $Tier -ne 'weekly') { Stop-Run "-Tier '$Tier' is not one: daily or weekly" $ExitUsage }
    $days = if ($Tier -eq 'daily') { $DailyRetentionDays } else { $WeeklyRetentionDays }
    if ($env:BACKUP_RETENTION_DAYS) { $days = $env:BACKUP_RETENTION_DAYS }
    if ($RetentionDays) { $days = $RetentionDays }
    if ("$days" -notmatch '^[1-9][0-9]{0,4}$') {
        Stop-Run "the retention '$days' must be a number of days, from 1 to 99999" $ExitUsage
    }
    return [int]"$days"
}

# Before anything is refused: a task has no console.
function Open-Log {
    $name = if ($Tier -eq 'weekly') { 'backup-weekly.log' } else { 'backup.log' }
    $script:LogFile = Join-Path $LogDir $name
    if ([IO.File]::Exists($script:LogFile) -and (Get-Item -LiteralPath $script:LogFile -Force).Length -gt 5mb) {
        # Who reads it keeps it as it is; the next run tries again.
        $null = Move-Over $script:LogFile "$($script:LogFile).1" 1
    }
}

# Windows drops a lock with the process that holds it, so there is no stale one. It lies on a range of the file, which
# is shared with everybody: a program that reads the file is not taken for a run. What opens it for itself alone is no
# run either, and the second file serves. Whoever can open both locks both: a run that had but one is seen by each later.
function Open-LockFiles {
    $share = [IO.FileShare]::ReadWrite -bor [IO.FileShare]::Delete
    foreach ($name in '.lock', '.lock-2') {
        foreach ($access in 'ReadWrite', 'Read') {
            try {
                [IO.File]::Open((Join-Path $BackupDir $name), 'OpenOrCreate', $access, $share)
                break
            } catch [IO.IOException], [UnauthorizedAccessException], [ArgumentException] {
                $script:Refusal = $_.Exception.Message
            }
        }
    }
}

function Lock-Store {
    $patience = [Diagnostics.Stopwatch]::StartNew()
    while (-not $script:Lock) {
        $files = @(Open-LockFiles)
        if ($files.Count -eq 0) {
            Stop-Run "cannot lock ${BackupDir}: run this as an administrator, or deploy again ($script:Refusal)" $ExitUsage
        }
        try {
            foreach ($file in $files) { $file.Lock(0, 1) }
            $script:Lock = $files
        } catch [IO.IOException] {
            foreach ($file in $files) { $file.Dispose() }
            if ($patience.Elapsed.TotalMinutes -ge $WaitMinutes) {
                Stop-Run 'another backup is running: this one gives way to it' $ExitBusy
            }
            Start-Sleep -Seconds 1
        }
    }
}

# Written before the dump starts and after it ends: an interrupted run stays `running`. What is wrong, or nothing:
# a status that cannot be written stops no dump.
function Save-Status([string]$State, [string]$Reason, [int]$Seconds = $HeldSeconds) {
    $status = [ordered]@{
        state = $State
        tier = $Tier
        began = $script:Began.ToString('yyyy-MM-ddTHH:mm:sszzz', $Invariant)
        written = (Get-Date).ToString('yyyy-MM-ddTHH:mm:sszzz', $Invariant)
        file = $script:Published
        reason = $Reason
    }
    return Save-Text $StatusFile (ConvertTo-Json -InputObject $status) $Seconds
}

# Whether it is the manifest of a dump that is gone.
function Test-Alone([string]$Path) {
    $dump = $Path -replace '\.json$'
    return $dump -cne $Path -and (Get-StampTime (Split-Path -Leaf $dump)) -and -not (Test-Path -LiteralPath $dump)
}

# Whether the restore whose directory it is has ended: while it runs it has a file there for itself alone.
function Test-Ended([IO.DirectoryInfo]$Place) {
    # It has had a minute to take it.
    if ($Place.LastWriteTimeUtc -gt [datetime]::UtcNow.AddMinutes(-1)) { return $false }
    $held = Join-Path $Place.FullName '.held'
    if (-not [IO.File]::Exists($held)) { return $true }
    try { [IO.File]::Open($held, 'Open', 'ReadWrite', 'None').Dispose() } catch { return $false }
    return $true
}

# Whether something in a tier's directory is what a run of ours leaves. A name is looked at as a whole: what others have
# put there is theirs, however much of our name it begins with.
function Test-Stale([IO.FileSystemInfo]$Item, [string]$Directory) {
    if ($Item -is [IO.DirectoryInfo]) {
        if ($Directory -ne $BackupDir -or $Item.Name -cnotmatch '^\.(run|restore)-[0-9a-f]+$') { return $false }
        return $Matches[1] -eq 'run' -or (Test-Ended $Item)
    }
    $name = $Item.Name -replace '\.part$'
    if ($name -ceq $Item.Name) { return Test-Alone $Item.FullName }
    return $name -eq (Split-Path -Leaf $Latest) -or [bool](Get-StampTime ($name -replace '\.json$'))
}

# Left behind by runs that were killed. The lock is ours, so nobody is writing them.
function Remove-Stale {
    $left = @(foreach ($directory in (Get-TierDir 'daily'), (Get-TierDir 'weekly')) {
        if (-not (Test-Path -LiteralPath $directory)) { continue }
        Get-ChildItem -LiteralPath $directory -Force -ErrorAction SilentlyContinue |
            Where-Object { Test-Stale $_ $directory }
    })
    foreach ($item in $left) {
        if (-not (Test-Path -LiteralPath $item.FullName)) { continue }
        try {
            Remove-Item -LiteralPath $item.FullName -Recurse -Force
            Write-Log 'INFO' "removed $($item.Name), left by an interrupted run"
        } catch {
            # The killed run's pg_dump.exe, which has outlived it, or a virus scanner: no reason to make no backup.
            Write-Log 'WARN' "$($item.Name), left by an interrupted run, stays for now: $($_.Exception.Message)"
        }
    }
}

# Of the volume that the directory lies on, which need not be its drive's: a volume mounted in a folder, a junction.
function Get-FreeBytes([string]$Directory) {
    $signature = '[DllImport("kernel32.dll", CharSet = CharSet.Unicode, SetLastError = true)] public static extern bool' +
        ' GetDiskFreeSpaceEx(string directory, out ulong available, out ulong total, out ulong free);'
    try {
        $disk = Add-Type -Namespace 'MedActionBackup' -Name 'Disk' -MemberDefinition $signature -PassThru
        $available = [uint64]0
        $total = [uint64]0
        $free = [uint64]0
        if ($disk::GetDiskFreeSpaceEx($Directory, [ref]$available, [ref]$total, [ref]$free)) { return $available }
    } catch {
        # Where policy lets no program be compiled.
        Write-Log 'WARN' "the free space is that of the drive's root: $($_.Exception.Message)"
    }
    return (New-Object IO.DriveInfo ([IO.Path]::GetPathRoot($Directory))).AvailableFreeSpace
}

function Test-Space([hashtable]$Client) {
    $database = [long](Invoke-Query $Client.Psql $script:RunDir $AppName 'SELECT pg_database_size(current_database())')
    # The dump lies there whole before it is packed: pg_dump's own output must not pass through a console.
    $needed = $database + $ReserveBytes
    if (Test-Path -LiteralPath $Latest) { $needed += (Get-Item -LiteralPath $Latest).Length }
    $free = Get-FreeBytes $BackupDir
    if ($free -lt $needed) {
        Stop-Run ("$BackupDir has $(Format-Size $free) free, the dump may need $(Format-Size $needed):" +
            ' make room, or lower backup_reserve_mb')
    }
}

function Compress-File([string]$From, [string]$To) {
    $source = [IO.File]::OpenRead($From)
    try {
        $target = New-Object IO.FileStream $To, 'CreateNew', 'Write', 'None'
        try {
            $gzip = New-Object IO.Compression.GZipStream $target, ([IO.Compression.CompressionLevel]::Fastest), $true
            try { $source.CopyTo($gzip, 1mb) } finally { $gzip.Dispose() }
            $target.Flush($true)
        } finally {
            $target.Dispose()
        }
        return $source.Length
    } finally {
        $source.Dispose()
    }
}

# What pg_dump is started with, in the directory of the run.
function Get-DumpArguments {
    return @(
        '--no-password', '--format=plain', "--lock-wait-timeout=${LockWaitSeconds}s", '--file=dump.sql',
        "--dbname=service=$AppName"
        # Not in what a role or the database sets for its sessions, which may lack a letter that is stored.
        if ($script:Properties) { "--encoding=$($script:Properties.encoding)" }
    )
}

function New-Dump([hashtable]$Client) {
    $script:Step = 'dump'
    $done = Invoke-Program $Client.PgDump (Get-DumpArguments) $script:RunDir -Gently
    if ($done.Code -ne 0) {
        Stop-Run "pg_dump ended with $(Get-ExitWords $done.Code): $(Select-Errors $done): $(Get-Advice $done.Errors)"
    }
    # It warns of what it leaves out, and of what will not restore by itself, and exits with 0.
    foreach ($line in @($done.Errors -split '\r?\n' | Where-Object { $_ })) { Write-Log 'WARN' $line }
    $directory = Get-TierDir $Tier
    $null = New-Item -ItemType Directory -Force -Path $directory
    $final = Join-Path $directory "${AppName}_$(Get-FreeStamp $directory)$Suffix"
    $script:Part = "$final.part"
    try {
        $script:Rows = Read-RowCounts (Join-Path $script:RunDir 'dump.sql')
    } catch {
        Write-Log 'WARN' "the rows could not be counted, so none is missed: $($_.Exception.Message)"
    }
    $bytes = Compress-File (Join-Path $script:RunDir 'dump.sql') $script:Part
    $script:Step = 'check'
    # While we have it open nobody takes it for himself alone.
    $wrong = Invoke-Patiently 60 { $script:Reader = [IO.File]::OpenRead($script:Part) }
    if ($wrong) { Stop-Run "the dump cannot be read: ${wrong}: end what holds it, then run this again" }
    try {
        $wrong = Test-Dump $script:Part $bytes
        if ($wrong) { Stop-Run "the dump is not good: $wrong. Run this again" }
        $manifest = New-Manifest $bytes $Client
    } finally {
        $script:Reader.Dispose()
    }
    Publish-Dump $final $manifest
}

function New-Manifest([long]$Bytes, [hashtable]$Client) {
    $manifest = [ordered]@{
        database = $PostgresDatabase
        tier = $Tier
        server_version = $Client.Server
        client_version = $Client.Client
        bytes = (Get-Item -LiteralPath $script:Part).Length
        dump_bytes = $Bytes
        sha256 = Get-Sha256 $script:Part
        seconds = [int]$script:Watch.Elapsed.TotalSeconds
        properties = $script:Properties
    }
    if ($script:Rows) {
        $manifest.tables = @($script:Rows.Keys | Sort-Object | Select-Object -First $MostTables | ForEach-Object {
            [ordered]@{ name = $_; rows = $script:Rows[$_] }
        })
    }
    return $manifest
}

function Publish-Dump([string]$Final, [Collections.IDictionary]$Manifest) {
    $script:Step = 'publish'
    $manifest.suspect = Get-Suspicion $manifest.bytes
    $wrong = Save-Text "$Final.json" (ConvertTo-Json -InputObject $manifest -Depth 5)
    # A dump without a manifest would be worse than a manifest without a dump: this comes last.
    if (-not $wrong) { $wrong = Move-Over $script:Part $Final 60 }
    if ($wrong) {
        Remove-Item -LiteralPath "$Final.json" -Force -ErrorAction SilentlyContinue
        Stop-Run "the dump is good, but could not be given its name: $wrong"
    }
    $script:Part = $null
    $script:Published = $Final
    if ($manifest.suspect) {
        Write-Undone ("$Final is suspect, and $Latest stays the dump before: if what it lacks was meant to go," +
            " backup-database.ps1 -Accept $(Split-Path -Leaf $Final)")
    } else {
        Set-Latest $Final
    }
    Write-Log 'INFO' "$Final, $(Format-Size $manifest.bytes), $($manifest.seconds) s"
}

# Symbolic links need a right that not everybody has; hard links need one volume, which these are on.
function Set-Latest([string]$Final) {
    $aside = "$Latest.part"
    $wrong = Invoke-Patiently $HeldSeconds {
        if ([IO.File]::Exists($aside)) { [IO.File]::Delete($aside) }
        try {
            $null = New-Item -ItemType HardLink -Path $aside -Value $Final
        } catch {
            [IO.File]::Copy($Final, $aside)
        }
    }
    if (-not $wrong) { $wrong = Move-Over $aside $Latest }
    # Who reads the dump before, by whichever of its names, keeps this name as it is.
    if ($wrong) { Write-Undone "$Latest is in use and still the dump before: the next run mends it ($wrong)" }
}

# What is said of a dump that lacks what the last good one has, or nothing. Half of the usual size may be right after a
# clean-up, and may be a table that was lost; one that grew is only worth a word. Unsuspicious dumps alone say what is
# usual: two small ones would soon be.
function Get-Suspicion([long]$Bytes) {
    $before = @(Get-Unsuspicious)
    $told = @()
    if ($before.Count -and $script:Rows) {
        $told = @(Get-Losses (Read-NotedRows $before[0].FullName) $script:Rows $SizeChangePercent $VolatileTables)
    }
    $isSuspect = $told.Count -gt 0
    $found = Get-Deviation $Bytes @($before | Select-Object -First 7 | ForEach-Object { $_.Length }) $SizeChangePercent
    if ($found) {
        $told += "the dump has $(Format-Size $Bytes), the median of the last ones $(Format-Size $found.Median)" +
            " ($($found.Percent) %)"
        if ($found.Percent -lt 0 -and $VolatileTables.Count -eq 0) { $isSuspect = $true }
    }
    if ($told.Count -eq 0) { return $null }
    $script:Suspect = ($told -join '; ') + ': see whether that is right'
    Write-Log 'WARN' $script:Suspect
    if ($isSuspect) { return $script:Suspect }
}

# Removes what is older than the tier's days, and only after a good dump.
function Remove-Old([int]$Days) {
    $script:Step = 'prune'
    $minimum = if ($Tier -eq 'weekly') { $WeeklyMinimumKept } else { $DailyMinimumKept }
    $hours = if ($Tier -eq 'weekly') { 7 * 24 } else { 24 }
    # Verified when it was made, if it has a manifest.
    $dumps = @(Get-Dumps $Tier | ForEach-Object {
        @{ Name = $_.Name; Good = (Test-Path -LiteralPath "$($_.FullName).json"); Suspect = (Test-Suspect $_.FullName) }
    })
    $found = Select-Old $dumps (Split-Path -Leaf $script:Published) (Get-Date) $Days $minimum $hours
    if ($found.Ahead) {
        Write-Log 'WARN' "$($found.Ahead) dump(s) bear a time that is still to come: see that the clock is right"
    }
    if ($found.Leap) {
        Write-Log 'WARN' "no dump for long before $($found.Leap): nothing is removed until $minimum good ones follow"
        return
    }
    $removed = @($found.Old | Where-Object { Remove-Dump (Join-Path (Get-TierDir $Tier) $_) })
    Write-Log 'INFO' "kept $($dumps.Count - $removed.Count), removed $($removed.Count) older than $Days days"
}

# Whether a dump and its manifest are gone.
function Remove-Dump([string]$Path) {
    $wrong = Invoke-Patiently 2 {
        # The manifest last: of a dump without one nobody knows that it is ours. Alone the next run takes it away.
        foreach ($each in $Path, "$Path.json") {
            if (Test-Path -LiteralPath $each) { Remove-Item -LiteralPath $each -Force }
        }
    }
    if ($wrong) {
        Write-Undone "the dump is good, but $Path could not be removed with its manifest: $wrong"
        return $false
    }
    Write-Log 'INFO' "removed $(Split-Path -Leaf $Path)"
    return $true
}

function Clear-Run {
    if ($script:Part) { Remove-Item -LiteralPath $script:Part -Force -ErrorAction SilentlyContinue }
    if ($script:RunDir) { Remove-Item -LiteralPath $script:RunDir -Recurse -Force -ErrorAction SilentlyContinue }
}

# A person has looked at it: what it lacks was meant to go.
function Invoke-Accept {
    $script:Step = 'accept'
    Lock-Store
    $path = Find-Dump $Accept
    $wrong = Test-Dump $path
    if ($wrong) { Stop-Run "$path is not good: $wrong" }
    if (-not (Test-Suspect $path)) { Stop-Run "$path is not suspect: there is nothing to accept" $ExitUsage }
    $noted = Read-Manifest $path
    $noted.suspect = $null
    $wrong = Save-Text "$path.json" (ConvertTo-Json -InputObject $noted -Depth 5)
    if ($wrong) { Stop-Run "$path.json could not be written: $wrong" }
    if (@(Get-Past | Select-Object -First 1 | ForEach-Object { $_.FullName }) -eq $path) { Set-Latest $path }
    Write-Log 'INFO' "$path is good: what it lacks was meant to go"
}

function Invoke-Verify {
    $script:Step = 'verify'
    $path = $Latest
    # .NET's current directory is not PowerShell's.
    if ($File) { $path = $ExecutionContext.SessionState.Path.GetUnresolvedProviderPathFromPSPath($File) }
    if (-not (Test-Path -LiteralPath $path)) { Stop-Run "there is no $path" $ExitUsage }
    $wrong = Test-Dump $path
    if ($wrong) { Stop-Run "$path is not good: $wrong" }
    Write-Log 'INFO' "$path is complete"
}

function Invoke-Backup([int]$Days) {
    $script:Step = 'prepare'
    if (-not (Test-Path -LiteralPath $BackupDir -PathType Container)) { Stop-Run "$BackupDir is missing: deploy again" $ExitUsage }
    Lock-Store
    Write-Log 'INFO' "started, keeping $Days days"
    $wrong = Save-Status 'running' $null 1
    if ($wrong) { Write-Log 'WARN' "$StatusFile cannot be written yet: $wrong" }
    Remove-Stale
    $script:RunDir = Join-Path $BackupDir ('.run-' + [Guid]::NewGuid().ToString('N'))
    $null = New-Item -ItemType Directory -Path $script:RunDir
    Write-Services $script:RunDir ''
    Assert-PgPass
    $client = Select-Client $script:RunDir
    Test-Space $client
    $script:Properties = Read-Properties $client.Psql
    New-Dump $client
    Remove-Old $Days
}

# The status, the rest of the log, and the exit code. Only the run that holds the lock speaks for the backups.
function Complete-Run([string]$Failure) {
    if ($Failure) { Write-Log 'ERROR' $Failure }
    if ($Verify -or $Accept) { return }
    $script:Step = 'report'
    if ($script:Lock) {
        $state = if ($script:Published) { 'ok' } else { 'failed' }
        $reason = (@($Failure) + $script:LeftUndone + @($script:Suspect) | Where-Object { $_ }) -join '; '
        $wrong = Save-Status $state $reason
        if ($wrong) { Write-Undone "$StatusFile could not be written, and is an earlier run's: $wrong" }
    }
    $wrong = Add-LogLines 5
    if ($wrong) {
        [Console]::Error.WriteLine("$script:LogFile could not be written: $wrong")
        $script:LeftUndone += 'the log'
    }
    if ($script:Published -and ($Failure -or $script:LeftUndone)) { $script:ExitCode = $ExitLeftUndone }
}

if ($Help) {
    Show-Usage $PSCommandPath
    exit 0
}
$script:Subject = $Tier
$failure = $null
try {
    if (-not $Verify) { Open-Log }
    $days = Read-Arguments
    if ($Accept) { Invoke-Accept } elseif ($Verify) { Invoke-Verify } else { Invoke-Backup $days }
    $script:ExitCode = 0
} catch {
    $failure = $_.Exception.Message
    if ($_.Exception.GetBaseException() -is [IO.IOException]) { $failure += ": $(Get-Advice $failure)" }
}
# First what may have filled the disk, then the words.
Clear-Run
try {
    Complete-Run $failure
} finally {
    foreach ($each in @($script:Lock | Where-Object { $_ })) { $each.Dispose() }
}
exit $script:ExitCode
