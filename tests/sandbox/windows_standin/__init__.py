"""A Debian host that stands in for a Windows one: real sshd and SFTP, and a shim that knows our scripts.

It proves the connector and what goes wrong on a connection, quickly. It does not prove PowerShell: the sandbox's `win1`
does. `shim` is its sshd's ForceCommand; `install` lays out its C: drive.
"""
