# A scheduled task of ours, removed, and its folder when that is empty; somebody else's of that name stays.
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
$left = 0
foreach ($task in $folder.GetTasks(1)) { $left++ }
if ($left) { exit 0 }
try { $service.GetFolder('\').DeleteFolder($request.folder.Trim('\'), 0) } catch { $null = $_ }  # it has folders in it
