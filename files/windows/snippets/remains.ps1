# Of each path that exists: how much lies in it, how much of that is files, whatever a link or junction leads to, and
# how many bytes.
function Measure-Tree([IO.FileSystemInfo]$Item) {
    $is_link = $Item.Attributes -band [IO.FileAttributes]::ReparsePoint
    if ($is_link -or $Item -is [IO.FileInfo]) {
        $script:files++
        if (-not $is_link) { $script:bytes += $Item.Length }
        return
    }
    foreach ($each in $Item.GetFileSystemInfos()) {
        $script:entries++
        Measure-Tree $each
    }
}

$found = @{}
foreach ($path in $request.paths) {
    try { $item = Get-Item -LiteralPath $path -Force } catch { continue }
    $script:entries, $script:files, $script:bytes = 0, 0, [long]0
    Measure-Tree $item
    $found[$path] = @{ entries = $script:entries; files = $script:files; bytes = $script:bytes }
}
Send-Answer $found
