"""A Windows host of the sandbox: PowerShell for Windows on Debian's wine, and stand-ins for what wine lacks.

`recipe.sh` makes the image; `run.py` is what its sshd runs; `acl.py` keeps access lists; `standins.psm1` and
`scheduler.psm1` stand in for Get-Acl, Set-Acl, the Task Scheduler and winget. All else is wine's and PowerShell's own.
"""
