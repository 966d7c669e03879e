# Files are kept aside, files and whole trees go, directories when they are empty; access lists are given back. Nothing
# is reached through a link or junction, which goes itself.
function Assert-Way([string]$Path) {
    for ($way = Split-Path -Parent $Path; $way; $way = Split-Path -Parent $way) {
        if ((Get-Item -LiteralPath $way -Force).Attributes -band [IO.FileAttributes]::ReparsePoint) {
            throw "$way is a link or junction: see who made it, remove it, and run this again"
        }
    }
}

function Remove-Tree([IO.FileSystemInfo]$Item) {
    $is_link = $Item.Attributes -band [IO.FileAttributes]::ReparsePoint
    if ($Item -is [IO.DirectoryInfo] -and -not $is_link) {
        foreach ($each in $Item.GetFileSystemInfos()) { Remove-Tree $each }
    }
    if ($Item.Attributes -band [IO.FileAttributes]::ReadOnly) { $Item.Attributes = 'Normal' }
    $Item.Delete()
}

function Get-There([string]$Path) {
    try { $item = Get-Item -LiteralPath $Path -Force } catch { return }
    Assert-Way $Path
    return $item
}

foreach ($path in $request.aside.PSObject.Properties) {
    if (-not (Get-There $path.Name)) { continue }
    $null = [IO.Directory]::CreateDirectory((Split-Path -Parent $path.Value))
    [IO.File]::Copy($path.Name, $path.Value, $true)
}
foreach ($path in @($request.files) + @($request.trees)) {
    $item = Get-There $path
    if ($item) { Remove-Tree $item }
}
foreach ($path in $request.directories) {  # the deepest first
    $item = Get-There $path
    if (-not $item -or $item.Attributes -band [IO.FileAttributes]::ReparsePoint) { continue }
    if (-not $item.GetFileSystemInfos()) { $item.Delete() }
}
foreach ($path in $request.access.PSObject.Properties) {
    if (-not (Get-There $path.Name)) { continue }
    $acl = Get-Acl -LiteralPath $path.Name
    $acl.SetSecurityDescriptorSddlForm($path.Value, 'Access, Owner')
    Set-Acl -LiteralPath $path.Name -AclObject $acl
}
