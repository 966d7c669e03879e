# A part of the backup scripts. Managed by the project that deploys this host.
# --- Steps: one log line each, one way to fail --------------------------------------------------------

$ExitFailed = 1
$ExitUsage = 2
$ExitLeftUndone = 3
$ExitBusy = 75
$Utf8 = New-Object System.Text.UTF8Encoding $false
$Invariant = [Globalization.CultureInfo]::InvariantCulture

$script:Subject = ''
$script:Step = 'start'
$script:LogFile = $null
$script:Unlogged = @()
$script:LeftUndone = @()
$script:ExitCode = $ExitFailed

function Write-Log([string]$Level, [string]$Message) {
    $time = (Get-Date).ToString('yyyy-MM-ddTHH:mm:sszzz', $Invariant)
    $line = '{0} {1,-5} {2} {3}: {4}' -f $time, $Level, $script:Subject, $script:Step, ($Message -replace '[\x00-\x1f\x7f-\x9f]+', ' ')
    [Console]::Error.WriteLine($line)
    $script:Unlogged += $line
    $null = Add-LogLines 1
}

# What is left undone but stops no dump: the run goes on, ends with $ExitLeftUndone, and says so in its status.
function Write-Undone([string]$Message) {
    $script:LeftUndone += $Message
    Write-Log 'WARN' $Message
}

# Ends the run: whoever catches it cleans up, says it and exits with this code.
function Stop-Run([string]$Message, [int]$Code = $ExitFailed) {
    $script:ExitCode = $Code
    throw $Message
}

# The lines that a script begins with, each $Setting in them replaced by its value.
function Show-Usage([string]$Path) {
    $value = { param($found) (Get-Variable -Name $found.Groups[1].Value -ValueOnly) }
    foreach ($line in [IO.File]::ReadAllLines($Path)) {
        if ($line -notmatch '^#') { break }
        [Console]::Out.WriteLine([regex]::Replace(($line -replace '^# ?', ''), '\$(\w+)', $value))
    }
}

function Format-Size([long]$Bytes) {
    if ($Bytes -lt 1mb) { return '{0:N1} KiB' -f ($Bytes / 1kb) }
    return '{0:N1} MiB' -f ($Bytes / 1mb)
}

# --- Files that others may hold: monitoring, an indexer, a virus scanner, a log shipper ----------------

$HeldSeconds = 10  # for so long a file is tried again

# Does it, and again for so many seconds while another program is in the way. What is wrong then, or nothing.
function Invoke-Patiently([int]$Seconds, [scriptblock]$Action) {
    $patience = [Diagnostics.Stopwatch]::StartNew()
    while ($true) {
        try {
            $null = & $Action
            return $null
        } catch [UnauthorizedAccessException], [IO.IOException] {
            if ($patience.Elapsed.TotalSeconds -ge $Seconds) { return $_.Exception.Message }
        }
        Start-Sleep -Milliseconds 200
    }
}

# Puts a file that is whole under a name that may be taken. When that is refused for so many seconds both stay as they
# are, and what is wrong is returned.
function Move-Over([string]$From, [string]$To, [int]$Seconds = $HeldSeconds) {
    return Invoke-Patiently $Seconds {
        if ([IO.File]::Exists($To)) {
            # Ours, whatever somebody has made of it. (Get-Item has an error of its own for a file that has just gone.)
            if ([IO.File]::GetAttributes($To) -band [IO.FileAttributes]::ReadOnly) { [IO.File]::SetAttributes($To, 'Normal') }
            [IO.File]::Replace($From, $To, [NullString]::Value)
        } else {
            [IO.File]::Move($From, $To)
        }
    }
}

# A text file, whole or not at all. What is wrong, or nothing.
function Save-Text([string]$Path, [string]$Text, [int]$Seconds = $HeldSeconds) {
    $wrong = Invoke-Patiently $Seconds { [IO.File]::WriteAllText("$Path.part", $Text, $Utf8) }
    if ($wrong) {
        Remove-Item -LiteralPath "$Path.part" -Force -ErrorAction SilentlyContinue
        return $wrong
    }
    return Move-Over "$Path.part" $Path $Seconds
}

# A text file, also while others write or read it. Throws an IOException with what is wrong.
function Read-Text([string]$Path, [int]$Seconds = 2) {
    $script:Text = ''
    $wrong = Invoke-Patiently $Seconds {
        $file = [IO.File]::Open($Path, 'Open', 'Read', ([IO.FileShare]::ReadWrite -bor [IO.FileShare]::Delete))
        try { $script:Text = (New-Object IO.StreamReader $file).ReadToEnd() } finally { $file.Dispose() }
    }
    if ($wrong) { throw (New-Object IO.IOException $wrong) }
    return $script:Text
}

# Appends the lines that the log does not have yet. While it cannot be written they wait for the next line; at the
# end of the run the console alone has them, and the exit code tells.
function Add-LogLines([int]$Seconds) {
    if (-not $script:LogFile -or $script:Unlogged.Count -eq 0) { return $null }
    $text = ($script:Unlogged -join "`r`n") + "`r`n"
    # Once refused, no line waits again: a dump is not to be held up by its log.
    if ($script:Unlogged.Count -gt 1 -and $Seconds -lt 2) { $Seconds = 0 }
    $wrong = Invoke-Patiently $Seconds {
        $null = [IO.Directory]::CreateDirectory((Split-Path -Parent $script:LogFile))
        if ([IO.File]::Exists($script:LogFile)) {
            $attributes = [IO.File]::GetAttributes($script:LogFile)
            if ($attributes -band [IO.FileAttributes]::ReadOnly) { [IO.File]::SetAttributes($script:LogFile, 'Normal') }
        }
        $share = [IO.FileShare]::ReadWrite -bor [IO.FileShare]::Delete
        $file = [IO.File]::Open($script:LogFile, 'Append', 'Write', $share)
        try {
            $bytes = $Utf8.GetBytes($text)
            $file.Write($bytes, 0, $bytes.Length)
        } finally {
            $file.Dispose()
        }
    }
    if (-not $wrong) { $script:Unlogged = @() }
    return $wrong
}

# --- Programs: started with arguments that are plain ASCII without spaces, so that no quoting matters --
#
# Not `& program`: Windows PowerShell turns a line on a program's error output into a terminating error, and
# its output into text of another encoding. Names of databases and hosts go by a file, as UTF-8: libpq takes
# arguments in the ANSI code page.

function Invoke-Program([string]$Path, [string[]]$Arguments, [string]$Directory, [switch]$Gently) {
    foreach ($argument in $Arguments) {
        if ($argument -notmatch '^[!#-~]+$') { Stop-Run "the argument $argument would need quotes" }
    }
    $info = New-Object System.Diagnostics.ProcessStartInfo
    $info.FileName = $Path
    $info.Arguments = $Arguments -join ' '
    $info.WorkingDirectory = $Directory
    $info.UseShellExecute = $false
    $info.CreateNoWindow = $true
    $info.RedirectStandardOutput = $true
    $info.RedirectStandardError = $true
    $info.StandardOutputEncoding = $Utf8
    $info.StandardErrorEncoding = $Utf8
    # Whatever a person or the machine has set would win over the configuration above.
    foreach ($name in @($info.EnvironmentVariables.Keys)) {
        if ($name -like 'PG*') { $info.EnvironmentVariables.Remove($name) }
    }
    $info.EnvironmentVariables['PGPASSFILE'] = $PgPassFile
    $info.EnvironmentVariables['PGSERVICEFILE'] = Join-Path $Directory 'service.conf'
    $info.EnvironmentVariables['LC_MESSAGES'] = 'C'
    $process = [Diagnostics.Process]::Start($info)
    try {
        if ($Gently) {
            try { $process.PriorityClass = 'BelowNormal' } catch { Write-Log 'WARN' 'the priority cannot be lowered' }
        }
        # Both at once: a program that fills the one while we read the other would wait for ever.
        $errors = $process.StandardError.ReadToEndAsync()
        $output = $process.StandardOutput.ReadToEnd()
        $process.WaitForExit()
        return @{ Code = $process.ExitCode; Output = $output.Trim(); Errors = $errors.Result.Trim() }
    } finally {
        if (-not $process.HasExited) { $process.Kill() }
        $process.Dispose()
    }
}

# What an exit code that no PostgreSQL program gives means: NTSTATUS values of the loader and of a killed process.
function Get-ExitWords([int]$Code) {
    switch ($Code) {
        -1073741515 { return "${Code}: a DLL is missing: install the Microsoft Visual C++ Redistributable (x64)" }
        -1073741819 { return "${Code}: it crashed" }
        default { return "$Code" }
    }
}
