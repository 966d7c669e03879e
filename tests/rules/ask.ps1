# The answers of files/windows/lib/rules.ps1: `pwsh -File ask.ps1 RULES CASES`, as JSON.

param([string]$Rules, [string]$Cases)
Set-StrictMode -Version 2
$ErrorActionPreference = 'Stop'
$Invariant = [Globalization.CultureInfo]::InvariantCulture
$AppName = 'medaction'
. $Rules

function Get-Pruned($Case) {
    $dumps = @($Case.dumps | ForEach-Object {
        @{ Name = "medaction_$($_.TrimStart('!', '?')).sql.gz"; Good = -not $_.StartsWith('!'); Suspect = $_.StartsWith('?') }
    })
    $now = Get-StampTime "medaction_$($Case.now).sql.gz"
    $hours = if ($Case.tier -eq 'weekly') { 168 } else { 24 }
    $found = Select-Old $dumps '' $now $Case.days $Case.minimum $hours
    return , @($found.Old | ForEach-Object { $_.Substring(10, 19) } | Sort-Object)
}

function Get-Change($Case) {
    $found = Get-Deviation $Case.bytes @($Case.sizes) $Case.percent
    if ($found) { return [long]$found.Percent }
    return $null
}

function ConvertTo-Counts($Table) {
    $counts = New-Counts
    foreach ($each in $Table) { $counts[$each[0]] = $each[1] }
    return $counts
}

function Get-Lost($Case) {
    return , @(Get-Losses (ConvertTo-Counts $Case.had) (ConvertTo-Counts $Case.has) $Case.percent @($Case.volatile))
}

$asked = ConvertFrom-Json -InputObject ([IO.File]::ReadAllText($Cases))
$answers = @{
    names = @($asked.names | ForEach-Object { [bool](Get-StampTime $_[0]) })
    prune = @($asked.prune | ForEach-Object { , (Get-Pruned $_) })
    suspect = @($asked.suspect | ForEach-Object { Get-Change $_ })
    losses = @($asked.losses | ForEach-Object { , (Get-Lost $_) })
}
[Console]::Out.WriteLine((ConvertTo-Json -InputObject $answers -Depth 5 -Compress))
