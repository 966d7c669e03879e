# What lies at each path: its kind, a file's SHA-256, its access list as SDDL (which knows no language).
$found = @{}
foreach ($path in $request.paths) {
    if (-not (Test-Path -LiteralPath $path)) { continue }
    $item = Get-Item -LiteralPath $path -Force
    $entry = @{ kind = 'directory'; sddl = (Get-Acl -LiteralPath $path).Sddl; sha256 = $null }
    if (-not $item.PSIsContainer) {
        $entry.kind = 'file'
        $entry.sha256 = (Get-FileHash -LiteralPath $path -Algorithm SHA256).Hash.ToLowerInvariant()
    }
    $found[$path] = $entry
}
Send-Answer $found
