# The scheduled tasks of a folder: each one's XML as Windows has it, its state, last result and next run.
$service = New-Object -ComObject 'Schedule.Service'
$service.Connect()
$found = @{}
try {
    $folder = $service.GetFolder($request.folder)
} catch {
    $folder = $null
}
if ($folder) {
    foreach ($task in $folder.GetTasks(1)) {
        $found[$task.Name] = @{
            xml = [Convert]::ToBase64String([Text.Encoding]::UTF8.GetBytes($task.Xml))
            enabled = [bool]$task.Enabled
            last_result = [int]$task.LastTaskResult
            last_run = $task.LastRunTime.ToString('s')
            next_run = $task.NextRunTime.ToString('s')
        }
    }
}
Send-Answer $found
