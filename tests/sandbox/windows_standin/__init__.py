"""A Debian host that stands in for a Windows one: real sshd and SFTP, and a shim that knows our scripts.

It proves the connector, the operations, idempotence, drift and failures. It does not prove PowerShell.
`shim` runs on the stand-in host and is its sshd's ForceCommand; `install` lays out its C: drive.
"""
