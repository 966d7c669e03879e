# A scheduled task of ours, removed; somebody else's of that name stays.
$service = New-Object -ComObject 'Schedule.Service'
$service.Connect()
$folder = $service.GetFolder($request.folder)
foreach ($task in $folder.GetTasks(1)) {
    if ($task.Name -ne $request.name) { continue }
    if (-not $task.Xml.Contains($request.mark)) {
        throw "$($request.folder)\$($request.name) is somebody else's task: it was left as it is"
    }
    $folder.DeleteTask($request.name, 0)
}
