# The access list of a file or directory, set as a whole.
$acl = Get-Acl -LiteralPath $request.path
$acl.SetSecurityDescriptorSddlForm($request.sddl, 'Access')
Set-Acl -LiteralPath $request.path -AclObject $acl
