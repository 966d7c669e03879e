"""Lay out a stand-in host's root: `install.py ROOT`. As root, on the host, with openssh-sftp-server there.

ROOT gets an empty C: drive, the shim's state, and what sftp-server needs to run in a chroot.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

SFTP_SERVER = Path("/usr/lib/openssh/sftp-server")


def install(root):
    root = Path(root)
    for name in ("C:/Users/Administrator", "C:/Windows", "C:/Program Files", "state/tasks", "etc", "dev"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "etc/passwd").write_text("root:x:0:0:root:/:/bin/sh\n")
    (root / "dev/null").touch()
    shutil.copy2(SFTP_SERVER, root / "sftp-server")
    listed = subprocess.run(["ldd", str(SFTP_SERVER)], capture_output=True, text=True, check=True).stdout
    for library in re.findall(r"(/\S+)", listed):
        target = root / library.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(library, target, follow_symlinks=True)


if __name__ == "__main__":
    install(sys.argv[1])
