# What wine lacks of Windows, for the tests' own host: access lists, the Task Scheduler's objects, winget.
# PowerShell loads it first ($POWERSHELL_STANDINS): a function here comes before the command of its name.

function Get-StoredAccess([string]$Path, [string]$Sddl) {
    if ($null -eq $script:Store) {
        $script:Store = [Net.Sockets.TcpClient]::new('127.0.0.1', 965)
        $script:Reader = [IO.StreamReader]::new($script:Store.GetStream())
    }
    $request = @{ path = $Path }
    if ($Sddl) { $request.sddl = $Sddl }
    $line = [Text.Encoding]::UTF8.GetBytes((ConvertTo-Json -Compress -InputObject $request) + "`n")
    $script:Store.GetStream().Write($line, 0, $line.Length)
    return $script:Reader.ReadLine()
}

function Get-Acl {
    param([Parameter(Mandatory)][string]$LiteralPath)
    $item = Microsoft.PowerShell.Management\Get-Item -LiteralPath $LiteralPath -Force -ErrorAction Stop
    $acl = if ($item.PSIsContainer) { [Security.AccessControl.DirectorySecurity]::new() } else { [Security.AccessControl.FileSecurity]::new() }
    $acl.SetSecurityDescriptorSddlForm((Get-StoredAccess $item.FullName))
    # PowerShell's own type data for it comes with the module of its own Get-Acl.
    return $acl | Add-Member -PassThru -MemberType ScriptProperty -Name Sddl -Value { $this.GetSecurityDescriptorSddlForm('Owner, Group, Access') }
}

function Set-Acl {
    param([Parameter(Mandatory)][string]$LiteralPath, [Parameter(Mandatory)]$AclObject)
    $item = Microsoft.PowerShell.Management\Get-Item -LiteralPath $LiteralPath -Force -ErrorAction Stop
    $null = Get-StoredAccess $item.FullName $AclObject.GetSecurityDescriptorSddlForm('Owner, Group, Access')
}

function New-Object {
    param([Parameter(Position = 0)][string]$TypeName, [Parameter(Position = 1)][object[]]$ArgumentList,
        [hashtable]$Property, [string]$ComObject)
    if ($ComObject -eq 'Schedule.Service') {
        Import-Module -Name "$PSScriptRoot\scheduler.psm1"
        return Get-StandInScheduler
    }
    return Microsoft.PowerShell.Utility\New-Object @PSBoundParameters
}

# winget knows one package here.
function winget.exe {
    $target = "$env:ProgramFiles\PostgreSQL\18"
    $null = New-Item -ItemType Directory -Force -Path $target
    Copy-Item -Recurse -Force -Path 'Z:\usr\local\lib\windows\postgresql\bin' -Destination $target
    $global:LASTEXITCODE = 0
}

Export-ModuleMember -Function Get-Acl, Set-Acl, New-Object, winget.exe
