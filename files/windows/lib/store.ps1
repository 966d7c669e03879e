# A part of the backup scripts. Managed by the project that deploys this host.
# --- The store: names, tiers, what is kept ------------------------------------------------------------

$Latest = [IO.Path]::Combine($BackupDir, "${AppName}_latest$Suffix")
$Trailer = '-- PostgreSQL database dump complete'

function Get-TierDir([string]$Name) {
    if ($Name -eq 'daily') { return $BackupDir }
    return Join-Path $BackupDir $Name
}

# Our dumps of a tier, newest first. What others have put there is none of our business.
function Get-Dumps([string]$Name) {
    $directory = Get-TierDir $Name
    if (-not (Test-Path -LiteralPath $directory)) { return @() }
    $files = @(Get-ChildItem -LiteralPath $directory -File | Where-Object { Get-StampTime $_.Name })
    return @($files | Sort-Object -Property Name -Descending)
}

# A path; or the name of a dump of ours, in whichever tier it lies.
function Find-Dump([string]$Given) {
    foreach ($path in $Given, (Join-Path (Get-TierDir 'daily') $Given), (Join-Path (Get-TierDir 'weekly') $Given)) {
        if (Test-Path -LiteralPath $path -PathType Leaf) { return (Get-Item -LiteralPath $path -Force).FullName }
    }
    Stop-Run "cannot read ${Given}: restore-database.ps1 -List shows the dumps there are" $ExitUsage
}

# Whether it lacks what the ones before it had, and nobody has accepted that.
function Test-Suspect([string]$Path) {
    # One that cannot be read just now may say so: it is no measure for others.
    try { $noted = Read-Manifest $Path } catch [IO.IOException] { return $true } catch { return $false }
    return (Test-Noted $noted 'suspect') -and [bool]$noted.suspect
}

# Whether a manifest has something of that name: an earlier version's does not.
function Test-Noted($Noted, [string]$Name) {
    return $Noted -and @($Noted.PSObject.Properties | ForEach-Object { $_.Name }) -contains $Name
}

# All of them, newest first, that are ours, as their manifests tell, and not suspect.
function Get-Unsuspicious {
    $all = @(Get-Dumps 'daily') + @(Get-Dumps 'weekly')
    return @($all | Sort-Object -Property Name -Descending | Where-Object {
        (Test-Path -LiteralPath "$($_.FullName).json") -and -not (Test-Suspect $_.FullName)
    })
}

# Those of them whose time is not still to come: a clock that was ahead gave the others.
function Get-Past {
    $now = Get-Date
    return @(Get-Unsuspicious | Where-Object { (Get-StampTime $_.Name) -le $now })
}

# Whether it is noted to hold no table: a server that was just made has been backed up, too.
function Test-Bare([string]$Path) {
    try { $noted = Read-Manifest $Path } catch { return $false }
    return (Test-Noted $noted 'tables') -and @($noted.tables).Count -eq 0
}

# The dump that `latest` is another name of, since its manifest bears its own; `latest` itself where none is the same.
function Get-NamedLatest {
    $found = Get-Item -LiteralPath $Latest -Force
    $sum = Get-Sha256 $Latest
    foreach ($dump in @(Get-Dumps 'daily') + @(Get-Dumps 'weekly')) {
        if ($dump.Length -ne $found.Length) { continue }
        try { $noted = Read-Manifest $dump.FullName } catch { continue }
        if ($noted -and $noted.sha256 -ceq $sum) { return $dump.FullName }
    }
    return $Latest
}

# In the hour that autumn repeats a name may be taken already: then the next free second.
function Get-FreeStamp([string]$Directory) {
    $time = Get-Date
    foreach ($second in 0..600) {
        $stamp = $time.AddSeconds($second).ToString($StampFormat, $Invariant)
        if (@(Get-ChildItem -LiteralPath $Directory -Filter "${AppName}_$stamp*").Count -eq 0) { return $stamp }
    }
    Stop-Run "no name is free in ${Directory}: see that the clock runs"
}

# The last 4 KB of what a stored dump holds, and its length: all of it is read, so all of it is readable.
function Read-Dump([string]$Path) {
    $tail = [byte[]]::new(0)
    $length = [long]0
    $file = [IO.File]::OpenRead($Path)
    try {
        $gzip = New-Object IO.Compression.GZipStream $file, ([IO.Compression.CompressionMode]::Decompress)
        $block = [byte[]]::new(1mb)
        while (($got = $gzip.Read($block, 0, $block.Length)) -gt 0) {
            $length += $got
            $old = [Math]::Min($tail.Length, [Math]::Max(0, 4096 - $got))
            $new = [Math]::Min(4096, $got)
            $joined = [byte[]]::new($old + $new)
            [Array]::Copy($tail, $tail.Length - $old, $joined, 0, $old)
            [Array]::Copy($block, $got - $new, $joined, $old, $new)
            $tail = $joined
        }
    } finally {
        $file.Dispose()
    }
    return @{ Length = $length; Tail = [Text.Encoding]::ASCII.GetString($tail) }
}

function Get-Sha256([string]$Path) {
    return (Get-FileHash -LiteralPath $Path -Algorithm SHA256).Hash.ToLowerInvariant()
}

# A stored dump against what was noted when it was made, or against the bytes that pg_dump wrote. Returns what is
# wrong with it, or nothing.
function Test-Dump([string]$Path, [long]$Bytes = -1) {
    $wrong = Invoke-Patiently $HeldSeconds { [IO.File]::OpenRead($Path).Dispose() }
    if ($wrong) { return "it cannot be read: $wrong" }
    try {
        $read = Read-Dump $Path
    } catch {
        return "it is damaged: $($_.Exception.Message)"
    }
    # Newer servers write a line after it, so it is looked for in the last 4 KB.
    if (-not $read.Tail.Contains($Trailer)) { return 'it is cut short: its last line is missing' }
    if ($Bytes -ge 0 -and $read.Length -ne $Bytes) { return 'it does not hold as much as pg_dump wrote' }
    try {
        $noted = Read-Manifest $Path
    } catch {
        return $_.Exception.Message
    }
    if (-not $noted) { return $null }
    if ($noted.sha256 -ne (Get-Sha256 $Path)) { return 'its checksum is not the one that was noted' }
    if ($noted.dump_bytes -ne $read.Length) { return 'it does not hold as much as pg_dump wrote' }
    return $null
}

# What was noted of a dump when it was made; nothing where no manifest lies. Throws a sentence when that is damaged.
function Read-Manifest([string]$Path) {
    $manifest = "$Path.json"
    if (-not (Test-Path -LiteralPath $manifest)) { return $null }
    try {
        $text = Read-Text $manifest
    } catch [IO.IOException] {
        throw (New-Object IO.IOException ("its manifest $manifest cannot be read: $($_.Exception.Message) See what holds" +
            ' it, and run this again'))
    }
    # No text of PostgreSQL's holds a byte of zero, and psql passes over what follows one: the end of a quote, too.
    try {
        $noted = if ($text -cnotmatch '\x00|(?<!\\)(?:\\\\)*\\u0000') { ConvertFrom-Json -InputObject $text }
    } catch {
        $noted = $null
    }
    $names = @(if ($noted) { $noted.PSObject.Properties | ForEach-Object { $_.Name } })
    $isWhole = $names -contains 'sha256' -and $names -contains 'dump_bytes' -and $names -contains 'bytes'
    if ($isWhole -and ($names -notcontains 'tables' -or (Test-Tables $noted.tables))) { return $noted }
    throw ("its manifest $manifest is damaged, so nothing says whether the dump is as it was made; it does end as a" +
        ' dump ends: remove that file to use the dump without it, or take another dump')
}

# Whether these are tables, each with its rows.
function Test-Tables($Tables) {
    foreach ($each in @($Tables)) {
        if (-not (Test-Noted $each 'name') -or -not (Test-Noted $each 'rows')) { return $false }
        if ($each.name -isnot [string] -or "$($each.rows)" -notmatch '^[0-9]{1,18}$') { return $false }
    }
    return $true
}

# The rows of each table that were noted when a dump was made; of an earlier version's, none.
function Read-NotedRows([string]$Path) {
    $counts = New-Counts
    try { $noted = Read-Manifest $Path } catch { return $counts }
    if (Test-Noted $noted 'tables') { foreach ($each in @($noted.tables)) { $counts[$each.name] = $each.rows } }
    return $counts
}
