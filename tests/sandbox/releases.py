"""Programs of other releases of Debian, in directories of their own: nothing of them is installed.

Their packages, with the libraries that they need, are unpacked, and their programs are told (by patchelf) to find
their libraries there.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from tests.sandbox import mirror, packages

LIBRARIES = ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu")


def unpacked(name: str, release: str, wanted: list[str], programs: str) -> Path:
    """Where these packages' programs are (a directory of the release's own): fetched once, below /var/cache."""
    root = Path("/var/cache/medaction-tests") / name
    if not (root / "ready").exists():
        shutil.rmtree(root, ignore_errors=True)
        _unpack(root, release, wanted)
        _relocate(root, [each for each in (root / programs).iterdir() if each.is_file()])
        (root / "ready").touch()
    return root / programs


def _unpack(root: Path, release: str, wanted: list[str]) -> None:
    needed = {"mmdebstrap": "mmdebstrap", "patchelf": "patchelf"}
    if missing := [name for name, tool in needed.items() if not shutil.which(tool)]:
        packages.install(*missing, "debian-archive-keyring")
    main = [line for line in mirror.sources_for(release) if line.endswith(f" {release} main")]
    root.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    done = subprocess.run(
        ["mmdebstrap", "--variant=extract", f"--include={','.join(wanted)}", "--mode=root",
         *(f"--aptopt={option}" for option in mirror.apt_options()), release, root, "-"],
        input="\n".join(main) + "\n", capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    root.chmod(0o755)


def _relocate(root: Path, programs: Iterable[Path]) -> None:
    loaders = [each for place in LIBRARIES for each in sorted((root / place).glob("ld-*.so*")) if not each.is_symlink()]
    path = ":".join(str(root / each) for each in LIBRARIES)
    for program in programs:
        with program.open("rb") as file:
            if program.is_symlink() or file.read(4) != b"\x7fELF":
                continue
        subprocess.run(
            ["patchelf", "--set-interpreter", loaders[0], "--force-rpath", "--set-rpath", path, program], check=True
        )
