# The security identifier of each account, and null for one that the host does not know.
$found = @{}
foreach ($name in $request.names) {
    try {
        $found[$name] = (New-Object Security.Principal.NTAccount $name).Translate([Security.Principal.SecurityIdentifier]).Value
    } catch {
        $found[$name] = $null
    }
}
Send-Answer $found
