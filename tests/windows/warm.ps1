# A PowerShell that runs one script after another, each as if it had been started for it: a start takes a second, and
# under wine some. A line of JSON comes, `{"script": ...}`, and one goes: code, output, errors. Where it listens: a port, or the path of
# a socket, which nobody else on the machine may open.
param([string]$Where)

$file = [IO.Path]::Combine([IO.Path]::GetTempPath(), 'warm.ps1')

# The script's end as `powershell -EncodedCommand` tells it: `exit` counts, and so does an error that nobody caught.
function Invoke-AsProcess([string]$Script) {
    [IO.File]::WriteAllText($file, "$Script`nexit 0", [Text.UTF8Encoding]::new($true))
    Set-Location -LiteralPath $HOME
    $global:LASTEXITCODE = 0
    try {
        foreach ($line in @(& $file)) { [Console]::Out.WriteLine([string]$line) }
        return $LASTEXITCODE
    } catch {
        [Console]::Error.WriteLine($_.Exception.Message)
        return 1
    }
}

function Get-Reply($Request) {
    $output, $errors = [IO.StringWriter]::new(), [IO.StringWriter]::new()
    [Console]::SetOut($output)
    [Console]::SetError($errors)
    $code = Invoke-AsProcess $Request.script
    return @{ code = $code; output = $output.ToString(); errors = $errors.ToString() }
}

$end = if ($Where -match '^\d+$') {
    [Net.IPEndPoint]::new([Net.IPAddress]::Any, [int]$Where)
} else {
    [Net.Sockets.UnixDomainSocketEndPoint]::new($Where)
}
$listener = [Net.Sockets.Socket]::new($end.AddressFamily, 'Stream', 'Unspecified')
$listener.Bind($end)
$listener.Listen(1)
while ($true) {
    $stream = [Net.Sockets.NetworkStream]::new($listener.Accept(), $true)
    try {
        $line = [IO.StreamReader]::new($stream).ReadLine()
        if (-not $line) { continue }
        $reply = ConvertTo-Json -Compress -InputObject (Get-Reply (ConvertFrom-Json -InputObject $line))
        $bytes = [Text.Encoding]::UTF8.GetBytes("$reply`n")
        $stream.Write($bytes, 0, $bytes.Length)
    } catch [IO.IOException] {
        continue  # whoever asked has gone
    } finally {
        $stream.Dispose()
    }
}
