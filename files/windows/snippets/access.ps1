# The access list of a file or directory, set as a whole.
# Made between the look and now: what it leads to is not ours to change.
if ((Get-Item -LiteralPath $request.path -Force).Attributes -band [IO.FileAttributes]::ReparsePoint) {
    throw "$($request.path) is a link or junction: remove it, and deploy again"
}
$acl = Get-Acl -LiteralPath $request.path
$acl.SetSecurityDescriptorSddlForm($request.sddl, 'Access')
# Whoever made it before us would remain its owner, who may always change the list.
$acl.SetOwner((New-Object Security.Principal.SecurityIdentifier 'S-1-5-32-544'))
Set-Acl -LiteralPath $request.path -AclObject $acl
