# One scheduled task, created or replaced whole; with validate_only, only looked at by Windows.
# Flags and logon types: TASK_CREATION and TASK_LOGON_TYPE in taskschd.h.
$service = New-Object -ComObject 'Schedule.Service'
$service.Connect()
$logonType = if ($request.service_account) { 5 } else { 2 }
# A service account stands in the XML as its SID: names such as SYSTEM depend on Windows' language.
$user = if ($request.service_account) { $null } else { $request.user }
if ($request.validate_only) {
    $null = $service.GetFolder('\').RegisterTask($request.name, $request.xml, 1, $user, $null, $logonType)
} else {
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
}
