"""A Windows host, as far as wine goes: a Debian server where Administrator meets cmd.exe and PowerShell for Windows.

A PostgreSQL server of its programs' own major holds MedAction's sample data. The archives are no part of the project
(docs/windows.md): without them the sandbox goes without the host.
"""

from pathlib import Path

from tests.sandbox.paths import CHECKOUT
from tests.sandbox.profiles import Profile, postgresql
from tests.sandbox.windows import wheel
from tests.windows import archives

_FOLDER = Path(__file__).resolve().parents[1] / "windows"
_FILES = ("recipe.sh", "run.py", "acl.py", "chroot.py", "standins.psm1", "scheduler.psm1")
_POWERSHELL = archives.archive("powershell-windows-*.tar.xz")


PROFILE = Profile(
    recipe=(
        *(_FOLDER / name for name in _FILES),
        CHECKOUT / "tests/data/windows/task-subset.xsd",
        postgresql.SAMPLE_DATA,
        *((_POWERSHELL,) if _POWERSHELL else ()),
    ),
    fetched=lambda: (wheel.packed("win_amd64"), wheel.packed("manylinux_2_28_x86_64")),
    at_up=postgresql.set_password,
)
