# Who answers: the platform, PowerShell's version, whether it may change the machine, and what it knows.
$platform = [Environment]::OSVersion.Platform.ToString()
$user = ''
$elevated = $false
if ($platform -eq 'Win32NT') {  # elsewhere there is no such identity to ask for
    $identity = [Security.Principal.WindowsIdentity]::GetCurrent()
    $administrators = New-Object Security.Principal.SecurityIdentifier 'S-1-5-32-544'
    $elevated = (New-Object Security.Principal.WindowsPrincipal $identity).IsInRole($administrators)
    $user = $identity.Name
}
Send-Answer @{
    platform = $platform
    version = [Environment]::OSVersion.Version.ToString()
    powershell = $PSVersionTable.PSVersion.ToString()
    language_mode = $ExecutionContext.SessionState.LanguageMode.ToString()
    user = $user
    elevated = $elevated
    temporary = [IO.Path]::GetTempPath()
    winget = [bool](Get-Command -Name 'winget.exe' -ErrorAction SilentlyContinue)
}
