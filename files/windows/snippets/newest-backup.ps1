# The newest dump of all tiers: its path, its age, whether the script that made it still finds it complete.
function Test-Name([string]$Name) {
    if ($Name -notmatch $request.pattern) { return $false }
    $time = [datetime]::MinValue
    $culture = [Globalization.CultureInfo]::InvariantCulture
    return [datetime]::TryParseExact($Matches[1], 'yyyy-MM-dd_HH-mm-ss', $culture, 'None', [ref]$time)
}

$newest = $null
foreach ($place in $request.places) {
    if (-not (Test-Path -LiteralPath $place)) { continue }
    foreach ($file in @(Get-ChildItem -LiteralPath $place -File)) {
        if (-not (Test-Name $file.Name)) { continue }
        if (-not $newest -or $file.Name -gt $newest.Name) { $newest = $file }
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
