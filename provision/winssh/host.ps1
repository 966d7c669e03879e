# Who answers: the platform, PowerShell's version, whether it may change the machine, and what it knows.
$platform = [Environment]::OSVersion.Platform.ToString()
$identity = [Security.Principal.WindowsIdentity]::GetCurrent()
$administrators = New-Object Security.Principal.SecurityIdentifier 'S-1-5-32-544'
$elevated = (New-Object Security.Principal.WindowsPrincipal $identity).IsInRole($administrators)
Send-Answer @{
    platform = $platform
    version = [Environment]::OSVersion.Version.ToString()
    powershell = $PSVersionTable.PSVersion.ToString()
    language_mode = $ExecutionContext.SessionState.LanguageMode.ToString()
    user = $identity.Name
    elevated = $elevated
    temporary = [IO.Path]::GetTempPath()
    winget = [bool](Get-Command -Name 'winget.exe' -ErrorAction SilentlyContinue)
}
