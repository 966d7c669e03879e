# The Task Scheduler, which wine has only the shell of: Schedule.Service's objects, as far as our scripts and people's
# checks use them (taskschd.h). A registered task lies where Windows keeps it, C:\Windows\System32\Tasks\FOLDER\NAME,
# rewritten as Windows rewrites it; C:\Windows\Tasks\FOLDER\NAME.json has its last run. Nothing starts by itself:
# Start-DueTask runs what was due.
$script:Definitions = "$env:SystemRoot\System32\Tasks"
$script:Runs = "$env:SystemRoot\Tasks"
$script:Namespace = 'http://schemas.microsoft.com/windows/2004/02/mit/task'
$script:HasNotRun = 0x41303
$script:Never = [datetime]'1899-12-30'

class Task {
    [string]$Name
    [string]$Path
    [string]$Xml
    [bool]$Enabled
    [int]$LastTaskResult
    [datetime]$LastRunTime
    [datetime]$NextRunTime
    Task([string]$file) {
        $this.Name = Split-Path -Leaf $file
        $this.Path = $file.Substring($script:Definitions.Length)
        $this.Xml = [IO.File]::ReadAllText($file)
        $document = [xml]$this.Xml
        $this.Enabled = $document.Task.Settings.Enabled -ne 'false'
        $run = Get-LastRun $this.Path
        $this.LastTaskResult = $run.result
        $this.LastRunTime = $run.time
        $this.NextRunTime = if ($this.Enabled) { Get-NextStart $document (Get-Date) } else { $script:Never }
    }
}

class Folder {
    [string]$Path
    Folder([string]$path) { $this.Path = $path.TrimEnd('\') }
    [object[]] GetTasks([int]$flags) {
        $files = Get-ChildItem -LiteralPath ($script:Definitions + $this.Path) -File
        return @($files | ForEach-Object { [Task]::new($_.FullName) })
    }
    [object] CreateFolder([string]$path) {
        $null = New-Item -ItemType Directory -Force -Path ($script:Definitions + $path)
        return [Folder]::new($path)
    }
    [object] RegisterTask([string]$name, [string]$xml, [int]$flags, $user, $password, [int]$logonType) {
        $document = ConvertTo-Task $xml
        if ($flags -band 1) { return $null }  # TASK_VALIDATE_ONLY
        $file = "$($script:Definitions)$($this.Path)\$name"
        Add-WindowsOwn $document "$($this.Path)\$name"
        [IO.File]::WriteAllText($file, $document.OuterXml, [Text.Encoding]::Unicode)
        return [Task]::new($file)
    }
    [void] DeleteTask([string]$name, [int]$flags) {
        Remove-Item -LiteralPath "$($script:Definitions)$($this.Path)\$name" -ErrorAction Stop
        Remove-Item -LiteralPath "$($script:Runs)$($this.Path)\$name.json" -ErrorAction Ignore
    }
    [void] DeleteFolder([string]$name, [int]$flags) {
        Remove-Item -LiteralPath "$($script:Definitions)$($this.Path)\$name" -ErrorAction Stop
    }
}

class Scheduler {
    [void] Connect() { }
    [object] GetFolder([string]$path) {
        if (-not (Test-Path -LiteralPath ($script:Definitions + $path.TrimEnd('\')) -PathType Container)) {
            throw 'The system cannot find the file specified. (Exception from HRESULT: 0x80070002)'
        }
        return [Folder]::new($path)
    }
}

function Get-StandInScheduler {
    $null = New-Item -ItemType Directory -Force -Path $script:Definitions
    return [Scheduler]::new()
}

# The XML of a task, checked against the schema. Throws what is wrong with it.
function ConvertTo-Task([string]$Xml) {
    $schemas = [Xml.Schema.XmlSchemaSet]::new()
    $null = $schemas.Add($script:Namespace, "$PSScriptRoot\task-subset.xsd")
    $document = [xml]::new()
    try {
        $document.LoadXml($Xml)
        $document.Schemas = $schemas
        $document.Validate($null)
        if ($document.DocumentElement.NamespaceURI -ne $script:Namespace) { throw 'the root is no Task' }
    } catch {
        throw "The task XML contains a value which is incorrectly formatted or out of range. ($($_.Exception.InnerException.Message)$($_.Exception.Message))"
    }
    return $document
}

# What Windows makes of a task: elements in another order, defaults filled in, whole days as days, a date and its path.
function Add-WindowsOwn([xml]$Document, [string]$Path) {
    $settings = $Document.Task.Settings
    $limit = $settings.ExecutionTimeLimit
    if ($limit -match '^PT(\d+)H$' -and [int]$Matches[1] -ge 24) {
        $rest = [int]$Matches[1] % 24
        $settings.ExecutionTimeLimit = "P$([math]::Floor([int]$Matches[1] / 24))D" + $(if ($rest) { "T${rest}H" })
    }
    $own = [ordered]@{ AllowHardTerminate = 'true'; Hidden = 'false'; Priority = '7'; RunOnlyIfIdle = 'false' }
    foreach ($name in $own.Keys) { Add-Element $settings $name $own[$name] }
    Add-Element $Document.Task.RegistrationInfo 'Date' (Get-Date).ToString('s')
    Add-Element $Document.Task.RegistrationInfo 'URI' $Path
    foreach ($parent in @($settings, $Document.Task)) {
        foreach ($child in @($parent.ChildNodes | Sort-Object -Property Name -Descending)) { $null = $parent.AppendChild($child) }
    }
    $null = $Document.InsertBefore($Document.CreateXmlDeclaration('1.0', 'UTF-16', $null), $Document.DocumentElement)
}

function Add-Element($Parent, [string]$Name, [string]$Text) {
    if ($null -ne $Parent[$Name]) { return }
    $child = $Parent.OwnerDocument.CreateElement($Name, $script:Namespace)
    $child.InnerText = $Text
    $null = $Parent.AppendChild($child)
}

# The starts of a task's triggers after one moment, up to another, in order.
function Get-Start([xml]$Document, [datetime]$After, [datetime]$Until) {
    $starts = foreach ($trigger in @($Document.Task.Triggers.ChildNodes)) {
        if ($trigger.Enabled -eq 'false') { continue }
        $time = ([datetime]$trigger.StartBoundary).TimeOfDay
        $days = @(if ($null -ne $trigger['ScheduleByWeek']) { $trigger['ScheduleByWeek']['DaysOfWeek'].ChildNodes.Name })
        for ($day = $After.Date; $day -le $Until; $day = $day.AddDays(1)) {
            $is_its_day = $days.Count -eq 0 -or $days -contains [string]$day.DayOfWeek
            if ($is_its_day -and $day + $time -gt $After -and $day + $time -le $Until) { $day + $time }
        }
    }
    return @($starts | Sort-Object)
}

function Get-NextStart([xml]$Document, [datetime]$Now) {
    $starts = @(Get-Start $Document $Now $Now.AddDays(8))
    if ($starts.Count) { return $starts[0] }
    return $script:Never
}

function Get-LastRun([string]$Path) {
    $file = "$script:Runs$Path.json"
    if (-not (Test-Path -LiteralPath $file)) { return @{ result = $script:HasNotRun; time = $script:Never } }
    $run = ConvertFrom-Json -InputObject ([IO.File]::ReadAllText($file))
    return @{ result = [int]$run.result; time = [datetime]$run.time }
}

function Set-LastRun([string]$Path, [int]$Result, [datetime]$Time) {
    $file = "$script:Runs$Path.json"
    $null = New-Item -ItemType Directory -Force -Path (Split-Path $file)
    [IO.File]::WriteAllText($file, (ConvertTo-Json -InputObject @{ result = $Result; time = $Time.ToString('s') }))
}

# Each task of a folder that has a start after $After, up to now, runs: its command line as registered, to its end.
# The starts that it missed count as one, and as none where StartWhenAvailable is off and the last is a minute ago.
function Start-DueTask([string]$Folder, [datetime]$After) {
    foreach ($task in [Folder]::new($Folder).GetTasks(1)) {
        $document = [xml]$task.Xml
        $starts = @(Get-Start $document $After (Get-Date))
        if (-not $task.Enabled -or $starts.Count -eq 0) { continue }
        $is_late = ((Get-Date) - $starts[-1]).TotalMinutes -gt 1
        if ($is_late -and $document.Task.Settings.StartWhenAvailable -ne 'true') { continue }
        $exec = $document.Task.Actions.Exec
        $began = Get-Date
        $process = [Diagnostics.Process]::Start([Diagnostics.ProcessStartInfo]::new($exec.Command, $exec.Arguments))
        $process.WaitForExit()
        Set-LastRun $task.Path $process.ExitCode $began
        "$($task.Name) $($process.ExitCode)"
    }
}

Export-ModuleMember -Function Get-StandInScheduler, Start-DueTask, Set-LastRun
