# What lies at each path: its kind (a link or junction is its own), a file's SHA-256, its owner and access list as SDDL
# (which knows no language).
$found = @{}
foreach ($path in $request.paths) {
    # Test-Path says no to a link that leads nowhere.
    try { $item = Get-Item -LiteralPath $path -Force } catch { continue }
    $entry = @{ kind = 'directory'; sddl = (Get-Acl -LiteralPath $path).Sddl; sha256 = $null }
    if ($item.Attributes -band [IO.FileAttributes]::ReparsePoint) {
        $entry.kind = 'link'
    } elseif (-not $item.PSIsContainer) {
        $entry.kind = 'file'
        $entry.sha256 = (Get-FileHash -LiteralPath $path -Algorithm SHA256).Hash.ToLowerInvariant()
    }
    $found[$path] = $entry
}
Send-Answer $found
