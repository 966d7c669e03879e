r"""`@winssh`: pyinfra's connector to Windows hosts, and PowerShell as it is sent to them.

It imports nothing of the project, and becomes a package of its own later.
"""
