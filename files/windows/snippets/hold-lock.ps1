# Hold a file in Windows' directory for as long as lines come on standard input, each within so many seconds, and say
# so; where somebody else holds it, say who. It is this process' alone, and gone with it, however that ends; one that a
# power cut has left is held by nobody. Whoever only reads it keeps its name for a moment longer: it is tried again.
$path = Join-Path $env:SystemRoot $request.name
$patience = [Diagnostics.Stopwatch]::StartNew()
$lock, $whose = $null, $null
while (-not $lock -and -not $whose -and $patience.Elapsed.TotalSeconds -lt 5) {
    try {
        $lock = New-Object IO.FileStream $path, 'Create', 'ReadWrite', 'Read', 4096, ([IO.FileOptions]::DeleteOnClose)
    } catch {
        $why = $_.Exception.InnerException.Message
        try {
            $file = New-Object IO.FileStream $path, 'Open', 'Read', 'ReadWrite, Delete'
            $whose = (New-Object IO.StreamReader $file).ReadToEnd()
            $file.Dispose()
        } catch { $null = $_ }
        Start-Sleep -Milliseconds 100
    }
}
if ($lock) {
    $since = (Get-Date).ToString('yyyy-MM-dd HH:mm:ss zzz', [Globalization.CultureInfo]::InvariantCulture)
    $text = [Text.Encoding]::UTF8.GetBytes("$($request.who) since $since")
    $lock.Write($text, 0, $text.Length)
    $lock.Flush()
    [Console]::Out.WriteLine('==lock==ours')
    $beats, $block = [Console]::OpenStandardInput(), [byte[]]::new(64)
    do { $beat = $beats.ReadAsync($block, 0, 64) } while ($beat.Wait(1000 * $request.seconds) -and $beat.Result)
    $lock.Dispose()
} elseif ($null -ne $whose) {
    [Console]::Out.WriteLine("==lock==held`t$whose")
} else {
    [Console]::Out.WriteLine("==lock==($why)")
}
