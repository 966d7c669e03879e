# What the backups say of themselves: the host's clock, what each tier's last run came to, the dumps that lie there.
function Test-Name([string]$Name) {
    if ($Name -notmatch $request.pattern) { return $false }
    $time = [datetime]::MinValue
    return [datetime]::TryParseExact($Matches[1], 'yyyy-MM-dd_HH-mm-ss', [cultureinfo]::InvariantCulture, 'None', [ref]$time)
}

# What a file of JSON says of these names; of one that is none, or is read by nobody just now, nothing.
function Read-Noted([string]$Path, [string[]]$Names) {
    $noted = @{}
    try { $whole = ConvertFrom-Json -InputObject ([IO.File]::ReadAllText($Path)) } catch { return $noted }
    foreach ($name in $Names) {
        $found = @($whole.PSObject.Properties | Where-Object { $_.Name -eq $name })
        if ($found.Count -eq 1) { $noted[$name] = $found[0].Value }
    }
    return $noted
}

$runs = @()
$unread = @{}
$gone = @()  # of which the manifest alone is left
$manifests = [ordered]@{}  # a plain table would lose the order of the tiers
foreach ($tier in $request.tiers) {
    $status = Join-Path $request.backup_dir "status-$($tier.name).json"
    if (Test-Path -LiteralPath $status) {
        $run = Read-Noted $status @('reason', 'state', 'written', 'began')
        if ($run['state'] -and $run['written']) {
            $runs += @{ database = $request.database; tier = $tier.name; started = $run['began'] } + $run
        } else {
            $unread['status'] += 1
        }
    }
    $dumps = @()
    $files = @(if (Test-Path -LiteralPath $tier.directory) { Get-ChildItem -LiteralPath $tier.directory -File })
    foreach ($file in $files) {
        $dump = $file.FullName -replace '\.json$'
        $name = Split-Path -Leaf $dump
        if (-not (Test-Name $name)) { continue }
        $found = @{ database = $request.database; dump = $name; bytes = $file.Length }
        if ($name -eq $file.Name) {
            $dumps += (Read-Noted "$dump.json" @('seconds', 'suspect')) + $found
        } elseif (-not (Test-Path -LiteralPath $dump)) {
            $gone += $found
        }
    }
    $manifests[$tier.name] = $dumps
}
Send-Answer @{ now = (Get-Date).ToString('s'); last_runs = $runs; manifests = $manifests; gone = $gone; unread = $unread }
