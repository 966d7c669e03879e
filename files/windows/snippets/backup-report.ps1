# What the backups say of themselves: the host's clock, what each tier's last run came to, the dumps that lie there.
function Test-Name([string]$Name) {
    if ($Name -notmatch $request.pattern) { return $false }
    $time = [datetime]::MinValue
    $culture = [Globalization.CultureInfo]::InvariantCulture
    return [datetime]::TryParseExact($Matches[1], 'yyyy-MM-dd_HH-mm-ss', $culture, 'None', [ref]$time)
}

# What a file of JSON says of these names; of one that is none, or is read by nobody just now, nothing.
function Read-Noted([string]$Path, [string[]]$Names) {
    $noted = @{}
    try { $whole = ConvertFrom-Json -InputObject ([IO.File]::ReadAllText($Path)) } catch { return $noted }
    foreach ($name in $Names) {
        $found = @($whole | ForEach-Object { $_.PSObject.Properties } | Where-Object { $_.Name -eq $name })
        if ($found.Count -eq 1) { $noted[$name] = $found[0].Value }
    }
    return $noted
}

$runs = @()
$gone = @()  # what only its manifest tells of: no run of ours takes a dump away and leaves that
$manifests = [ordered]@{}  # a plain table would lose the order of the tiers
foreach ($tier in $request.tiers) {
    $status = Join-Path $request.backup_dir "status-$($tier.name).json"
    if (Test-Path -LiteralPath $status) {
        $run = ConvertFrom-Json -InputObject ([IO.File]::ReadAllText($status))
        $said = Read-Noted $status @('reason')
        $runs += $said + @{
            database = $request.database; state = $run.state; written = $run.written; tier = $tier.name
        }
    }
    $dumps = @()
    if (Test-Path -LiteralPath $tier.directory) {
        foreach ($file in @(Get-ChildItem -LiteralPath $tier.directory -File)) {
            if (-not (Test-Name $file.Name)) { continue }
            $noted = Read-Noted "$($file.FullName).json" @('seconds', 'suspect')
            $dumps += $noted + @{ database = $request.database; dump = $file.Name; bytes = $file.Length }
        }
        foreach ($file in @(Get-ChildItem -LiteralPath $tier.directory -File -Filter '*.json')) {
            $path = $file.FullName -replace '\.json$'
            if ((Test-Name (Split-Path -Leaf $path)) -and -not (Test-Path -LiteralPath $path)) {
                $gone += @{ database = $request.database; dump = (Split-Path -Leaf $path); bytes = 0 }
            }
        }
    }
    $manifests[$tier.name] = $dumps
}
Send-Answer @{ now = (Get-Date).ToString('s'); last_runs = $runs; manifests = $manifests; gone = $gone }
