# A directory, with its access list when one is given.
$null = New-Item -ItemType Directory -Force -Path $request.path
if ($request.sddl) {
    $acl = Get-Acl -LiteralPath $request.path
    $acl.SetSecurityDescriptorSddlForm($request.sddl, 'Access')
    # Whoever made it before us would remain its owner, who may always change the list.
    $acl.SetOwner((New-Object Security.Principal.SecurityIdentifier 'S-1-5-32-544'))
    Set-Acl -LiteralPath $request.path -AclObject $acl
}
