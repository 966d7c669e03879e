# Who answers: the platform, PowerShell's version, whether it may change the machine, and what it knows.
$platform = [Environment]::OSVersion.Platform.ToString()
$user = ''
$elevated = $false
$policy = ''
if ($platform -eq 'Win32NT') {  # elsewhere there is no such identity to ask for
    $identity = [Security.Principal.WindowsIdentity]::GetCurrent()
    $administrators = New-Object Security.Principal.SecurityIdentifier 'S-1-5-32-544'
    $elevated = (New-Object Security.Principal.WindowsPrincipal $identity).IsInRole($administrators)
    $user = $identity.Name
    # What a group policy says of scripts wins over -ExecutionPolicy Bypass.
    $key = 'HKLM:\SOFTWARE\Policies\Microsoft\Windows\PowerShell'
    $named = Get-ItemProperty -Path $key -Name 'ExecutionPolicy' -ErrorAction SilentlyContinue
    if ($named) { $policy = [string]$named.ExecutionPolicy }
    $enabled = Get-ItemProperty -Path $key -Name 'EnableScripts' -ErrorAction SilentlyContinue
    if ($enabled -and $enabled.EnableScripts -eq 0) { $policy = 'Restricted' }
}
Send-Answer @{
    platform = $platform
    version = [Environment]::OSVersion.Version.ToString()
    powershell = $PSVersionTable.PSVersion.ToString()
    language_mode = $ExecutionContext.SessionState.LanguageMode.ToString()
    user = $user
    elevated = $elevated
    policy = $policy
    temporary = [IO.Path]::GetTempPath()
    winget = [bool](Get-Command -Name 'winget.exe' -ErrorAction SilentlyContinue)
}
