# One scheduled task, looked at by Windows first, then created or replaced whole.
# Flags and logon types: TASK_CREATION and TASK_LOGON_TYPE in taskschd.h.
$service = New-Object -ComObject 'Schedule.Service'
$service.Connect()
$logonType = if ($request.service_account) { 5 } else { 2 }
# A service account stands in the XML as its SID: names such as SYSTEM depend on Windows' language.
$user = if ($request.service_account) { $null } else { $request.user }
$null = $service.GetFolder('\').RegisterTask($request.name, $request.xml, 1, $user, $null, $logonType)
try {
    $folder = $service.GetFolder($request.folder)
} catch {
    $folder = $service.GetFolder('\').CreateFolder($request.folder)
}
foreach ($task in $folder.GetTasks(1)) {
    if ($task.Name -eq $request.name -and -not $task.Xml.Contains($request.mark)) {
        throw "$($request.folder)\$($request.name) is somebody else's task: it was left as it is"
    }
}
$null = $folder.RegisterTask($request.name, $request.xml, 6, $user, $null, $logonType)
