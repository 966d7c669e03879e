# A PowerShell for Windows that runs one script after another, each as if it had been started for it: under wine a start
# takes seconds. A line of JSON comes, `{"script": ...}`, and one goes: code, output, errors.
param([int]$Port)

$file = "$env:TEMP\warm.ps1"

# The script's end as `powershell -EncodedCommand` tells it: `exit` counts, and so does an error that nobody caught.
function Invoke-AsProcess([string]$Script) {
    [IO.File]::WriteAllText($file, "$Script`nexit 0", [Text.UTF8Encoding]::new($true))
    Set-Location -LiteralPath $env:USERPROFILE
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

$listener = [Net.Sockets.TcpListener]::new([Net.IPAddress]::Any, $Port)
$listener.Start()
while ($true) {
    $client = $listener.AcceptTcpClient()
    try {
        $reader = [IO.StreamReader]::new($client.GetStream())
        $line = $reader.ReadLine()
        if (-not $line) { continue }
        $reply = ConvertTo-Json -Compress -InputObject (Get-Reply (ConvertFrom-Json -InputObject $line))
        $bytes = [Text.Encoding]::UTF8.GetBytes("$reply`n")
        $client.GetStream().Write($bytes, 0, $bytes.Length)
    } catch [IO.IOException] {
        continue  # whoever asked has gone
    } finally {
        $client.Dispose()
    }
}
