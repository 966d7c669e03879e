# A part of the backup scripts. Managed by the project that deploys this host.
# --- Rules: which names are ours, what is a leap of the clock, what is too old, what is lost or suspect --
#
# They read and write nothing. The bash scripts answer the same; tests/rules has the cases that both are asked.

$Suffix = '.sql.gz'
$StampFormat = 'yyyy-MM-dd_HH-mm-ss'
$NamePattern = '^' + [regex]::Escape($AppName) + '_(\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d)\.sql\.gz$'

# The time in a dump's name; nothing when it is no name of ours, or no time that there is (24:00, 30 February).
# Stamps are compared with stamps only, as they stand: no time zone and no summer time comes into it.
function Get-StampTime([string]$Name) {
    if ($Name -notmatch $NamePattern) { return $null }
    $time = [datetime]::MinValue
    if (-not [datetime]::TryParseExact($Matches[1], $StampFormat, $Invariant, 'None', [ref]$time)) { return $null }
    return $time
}

# Whether the time between a dump and the next newer one is longer than this host is used to: half as long again as
# the tier's period, or as the second longest wait before it (hosts that are off at weekends have many).
function Test-Leap([datetime[]]$Times, [int]$Index, [double]$PeriodHours) {
    $waits = @()
    for ($i = $Index + 1; $i -lt $Times.Count; $i++) { $waits += ($Times[$i - 1] - $Times[$i]).TotalHours }
    $waits = @($waits | Sort-Object -Descending)
    $usual = $PeriodHours
    if ($waits.Count -gt 1 -and $waits[1] -gt $usual) { $usual = $waits[1] }
    return ($Times[$Index - 1] - $Times[$Index]).TotalHours -gt $usual * 1.5
}

# Of a tier's dumps, newest first (each Name, Good, perhaps Suspect), the names that are too old at `Now`: never the
# newest good ones of the minimum, and none while the clock may have leapt. Also how many bear a time to come, and
# before which is a leap.
function Select-Old([object[]]$Dumps, [string]$Published, [datetime]$Now, [int]$Days, [int]$Minimum, [double]$PeriodHours) {
    $times = @($Dumps | ForEach-Object { Get-StampTime $_.Name })
    $ahead = 0
    while ($ahead -lt $Dumps.Count -and $times[$ahead] -gt $Now -and $Dumps[$ahead].Name -ne $Published) { $ahead += 1 }
    $good = 0
    $old = @()
    for ($i = $ahead; $i -lt $Dumps.Count; $i++) {
        # After a leap of the clock age says little: what was made before stays until enough good ones follow.
        if ($good -le $Minimum -and $i -gt $ahead -and (Test-Leap $times $i $PeriodHours)) {
            return @{ Ahead = $ahead; Leap = $Dumps[$i - 1].Name; Old = @() }
        }
        if ($good -lt $Minimum) {
            if ($Dumps[$i].Good -and -not $Dumps[$i]['Suspect']) { $good += 1 }
        } else {
            $good = $Minimum + 1  # enough of them: no earlier leap matters
            # One of which no manifest tells is not known to be ours.
            if ($Dumps[$i].Good -and $times[$i] -lt $Now.AddDays(-$Days)) { $old += $Dumps[$i].Name }
        }
    }
    return @{ Ahead = $ahead; Leap = ''; Old = $old }
}

# By how many percent a dump differs from the median of the last ones, when that is more than is usual; else nothing.
function Get-Deviation([long]$Bytes, [long[]]$Sizes, [int]$Percent) {
    $sorted = @($Sizes | Where-Object { $_ -gt 0 } | Sort-Object)
    if ($sorted.Count -eq 0) { return $null }
    $median = $sorted[[int][Math]::Floor(($sorted.Count - 1) / 2)]
    $change = [Math]::Truncate(($Bytes - $median) * 100 / $median)
    if ([Math]::Abs($change) -le $Percent) { return $null }
    return @{ Percent = $change; Median = $median }
}

# A few rows come and go; a table of at least so many does not fall by half overnight without a reason.
$FewRows = 100

# Tables and how many rows each has. PowerShell's own table takes two names that differ by case alone for one.
function New-Counts { return New-Object Collections.Hashtable ([StringComparer]::Ordinal) }

# What a dump lacks of what an earlier one had, a sentence each. `Volatile` are tables that come and go.
function Get-Losses($Had, $Has, [int]$Percent, [string[]]$Volatile) {
    $spared = @($Volatile | ForEach-Object { $_; "public.$_" })
    $watched = @($Had.Keys | Where-Object { $spared -cnotcontains $_ } | Sort-Object)
    if ($watched.Count -and $Has.Count -eq 0) { return "no table is left of $($watched.Count)" }
    foreach ($name in $watched) {
        $rows = $Had[$name]
        if (-not $Has.ContainsKey($name)) {
            if ($rows -gt 0) { "the table $name is gone, it had $rows rows" }
        } elseif ($rows -ge $FewRows -and ($rows - $Has[$name]) * 100 -gt $rows * $Percent) {
            "the table $name has $($Has[$name]) rows, it had $rows"
        }
    }
}
