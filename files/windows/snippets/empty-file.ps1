# An empty file that has its final access list before it has a content.
if (Test-Path -LiteralPath $request.path) { Remove-Item -LiteralPath $request.path -Force }
$null = New-Item -ItemType File -Path $request.path
$acl = Get-Acl -LiteralPath $request.path
$acl.SetSecurityDescriptorSddlForm($request.sddl, 'Access')
$acl.SetOwner((New-Object Security.Principal.SecurityIdentifier 'S-1-5-32-544'))
Set-Acl -LiteralPath $request.path -AclObject $acl
