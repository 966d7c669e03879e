# What the backups say of themselves: the host's clock, what each tier's last run came to, the dumps that lie there.
function Test-Name([string]$Name) {
    if ($Name -notmatch $request.pattern) { return $false }
    $time = [datetime]::MinValue
    $culture = [Globalization.CultureInfo]::InvariantCulture
    return [datetime]::TryParseExact($Matches[1], 'yyyy-MM-dd_HH-mm-ss', $culture, 'None', [ref]$time)
}

$runs = @()
$manifests = [ordered]@{}  # a plain table would lose the order of the tiers
foreach ($tier in $request.tiers) {
    $status = Join-Path $request.backup_dir "status-$($tier.name).json"
    if (Test-Path -LiteralPath $status) {
        $run = ConvertFrom-Json -InputObject ([IO.File]::ReadAllText($status))
        $runs += @{ database = $request.database; state = $run.state; written = $run.written }
    }
    $dumps = @()
    if (Test-Path -LiteralPath $tier.directory) {
        foreach ($file in @(Get-ChildItem -LiteralPath $tier.directory -File)) {
            if (-not (Test-Name $file.Name)) { continue }
            $dumps += @{ database = $request.database; dump = $file.Name; bytes = $file.Length }
        }
    }
    $manifests[$tier.name] = $dumps
}
Send-Answer @{ now = (Get-Date).ToString('s'); last_runs = $runs; manifests = $manifests }
