# In order: directories made, empty files made anew, and what is there already; each with its access list where one is
# given, a file before it has a content.
foreach ($entry in $request.entries) {
    if ($entry.kind -eq 'directory') { $null = New-Item -ItemType Directory -Force -Path $entry.path }
    if ($entry.kind -eq 'file') {
        # Test-Path says no to a link that leads nowhere; a directory would be asked about, and nobody answers.
        try { $item = Get-Item -LiteralPath $entry.path -Force } catch { $item = $null }
        if ($item -is [IO.DirectoryInfo]) {
            throw "$($entry.path) is a directory, where a file is written: see who made it, remove it, and deploy again"
        }
        if ($item) { Remove-Item -LiteralPath $entry.path -Force }
        $null = New-Item -ItemType File -Path $entry.path
    }
    # Made between the look and now: what it leads to is not ours to change.
    if ((Get-Item -LiteralPath $entry.path -Force).Attributes -band [IO.FileAttributes]::ReparsePoint) {
        throw "$($entry.path) is a link or junction: remove it, and deploy again"
    }
    if (-not $entry.sddl) { continue }
    $acl = Get-Acl -LiteralPath $entry.path
    $acl.SetSecurityDescriptorSddlForm($entry.sddl, 'Access')
    # Whoever made it before us would remain its owner, who may always change the list.
    $acl.SetOwner((New-Object Security.Principal.SecurityIdentifier 'S-1-5-32-544'))
    Set-Acl -LiteralPath $entry.path -AclObject $acl
}
