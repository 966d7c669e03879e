# The newest dump of all tiers: its path, its age, whether the script that made it still finds it complete.
function Test-Name([string]$Name) {
    if ($Name -notmatch $request.pattern) { return $false }
    $time = [datetime]::MinValue
    $culture = [Globalization.CultureInfo]::InvariantCulture
    return [datetime]::TryParseExact($Matches[1], 'yyyy-MM-dd_HH-mm-ss', $culture, 'None', [ref]$time)
}

$newest, $wasAhead = $null, $false
# One whose time is still to come was named by a clock that was ahead: it says nothing of last night.
$now = (Get-Date).ToString('yyyy-MM-dd_HH-mm-ss', [Globalization.CultureInfo]::InvariantCulture)
foreach ($place in $request.places) {
    if (-not (Test-Path -LiteralPath $place)) { continue }
    foreach ($file in @(Get-ChildItem -LiteralPath $place -File)) {
        if (-not (Test-Name $file.Name)) { continue }
        $isAhead = ([regex]::Match($file.Name, $request.pattern)).Groups[1].Value -gt $now
        if (-not $newest -or ($wasAhead -and -not $isAhead) -or ($wasAhead -eq $isAhead -and $file.Name -gt $newest.Name)) {
            $newest, $wasAhead = $file, $isAhead
        }
    }
}
if ($newest) {
    # A script that is damaged can say nothing of the dump; that is no reason not to mend the script.
    try {
        & $request.script -Verify -File $newest.FullName
        $complete = $LASTEXITCODE -eq 0
    } catch {
        $complete = $false
    }
    $age = ((Get-Date) - $newest.LastWriteTime).TotalHours
    Send-Answer @{ path = $newest.FullName; bytes = $newest.Length; age_hours = $age; complete = $complete }
} else {
    Send-Answer @{ path = $null; bytes = 0; age_hours = 0; complete = $false }
}
