"""The disposable hosts of `make sandbox`: the smallest fleet in which every role runs on a real server.

`tests/sandbox` boots what stands here: `sandbox_release` is the Debian release, `sandbox_address` the
host's address on the sandbox's own network, `sandbox_profile` what the host has before we deploy: `bare`,
`postgresql` (a server with MedAction's sample database), `docker` (a server with a Docker engine) or
`wine` (PowerShell for Windows, on a Debian server's wine).
"""

import os
from pathlib import Path

# PowerShell for Windows is no part of the project (docs/windows.md): without it the sandbox goes without win1.
_ARCHIVES = Path(os.environ.get("POWERSHELL_ARCHIVES") or Path(__file__).resolve().parents[2] / "shared/tools")
_without = (
    {}
    if list(_ARCHIVES.glob("powershell-windows-*.tar.xz"))
    else {"win1": f"there is no PowerShell for Windows in {_ARCHIVES} (docs/windows.md)"}
)

app = [
    ("app1", {"sandbox_release": "bookworm", "sandbox_address": "10.213.86.11", "sandbox_profile": "bare"}),
    ("app2", {"sandbox_release": "trixie", "sandbox_address": "10.213.86.12", "sandbox_profile": "bare"}),
]
redis = [
    ("redis1", {"sandbox_release": "bookworm", "sandbox_address": "10.213.86.21", "sandbox_profile": "bare"}),
    # Another Redis, which no app host uses: the other mode, deployed and verified beside the first.
    (
        "docker1",
        {
            "sandbox_release": "trixie",
            "sandbox_address": "10.213.86.41",
            "sandbox_profile": "docker",
            "redis_mode": "compose",
            "redis_host": "10.213.86.41",
        },
    ),
]
backup = [
    ("db1", {"sandbox_release": "trixie", "sandbox_address": "10.213.86.31", "sandbox_profile": "postgresql"}),
]
if not _without:
    backup.append(
        (
            "@winssh/win1",
            {
                "sandbox_release": "trixie",
                "sandbox_address": "10.213.86.51",
                "sandbox_profile": "wine",
                "ssh_user": "Administrator",
                "_sudo": False,
                # Its programs are PostgreSQL 18's, db1's server is Debian's.
                "postgres_host": "127.0.0.1",
            },
        )
    )
# Fetches db1's backups, and proves them.
vault = [("vault1", {"sandbox_release": "trixie", "sandbox_address": "10.213.86.61", "sandbox_profile": "bare"})]
