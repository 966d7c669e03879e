r"""Windows hosts: what pyinfra lacks to manage them over Windows' own OpenSSH.

The layers, each knowing only those above it:

    powershell   quoting, encoding, the size limit, and the few scripts that are ever sent (`scripts/`)
    acl, task    pure: a private file's access, a scheduled task; what differs, told in words
    connector    `@winssh`: encoded PowerShell instead of `sh -c`, files over SFTP
    facts        what a host has
    operations   what a host should have

Nothing here is imported by a deploy without Windows hosts, except `connector`, which pyinfra loads at
start like every connector: it imports pyinfra and the standard library, nothing else.
"""
