"""PostgreSQL of other major versions than this machine's, out of other releases of Debian, in directories of their own.

Nothing of them is installed: their packages, with the libraries that they need, are unpacked below
/var/cache, and their programs are told (by patchelf) to find their libraries there.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.sandbox import mirror, packages

RELEASES = {13: "bullseye", 17: "trixie", 18: "forky"}
LIBRARIES = ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu")


def other_server(major: int) -> Path:
    """Where the programs of that major version are: fetched once, a minute and 300 MB each."""
    root = Path("/var/cache/medaction-tests") / f"postgresql-{major}"
    programs = root / f"usr/lib/postgresql/{major}/bin"
    if not (root / "ready").exists():
        shutil.rmtree(root, ignore_errors=True)
        _unpack(root, major)
        _relocate(root, programs)
        (root / "ready").touch()
    return programs


def _unpack(root: Path, major: int) -> None:
    needed = {"mmdebstrap": "mmdebstrap", "patchelf": "patchelf"}
    if missing := [name for name, tool in needed.items() if not shutil.which(tool)]:
        packages.install(*missing, "debian-archive-keyring")
    wanted = [f"postgresql-{major}", f"postgresql-client-{major}"]
    main = [line for line in mirror.sources_for(RELEASES[major]) if line.endswith(f" {RELEASES[major]} main")]
    root.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    done = subprocess.run(
        ["mmdebstrap", "--variant=extract", f"--include={','.join(wanted)}", "--mode=root",
         *(f"--aptopt={option}" for option in mirror.apt_options()), RELEASES[major], root, "-"],
        input="\n".join(main) + "\n", capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    root.chmod(0o755)


def _relocate(root: Path, programs: Path) -> None:
    loaders = [each for place in LIBRARIES for each in sorted((root / place).glob("ld-*.so*")) if not each.is_symlink()]
    path = ":".join(str(root / each) for each in LIBRARIES)
    for program in programs.iterdir():
        with program.open("rb") as file:
            if file.read(4) != b"\x7fELF":
                continue
        subprocess.run(
            ["patchelf", "--set-interpreter", loaders[0], "--force-rpath", "--set-rpath", path, program], check=True
        )
