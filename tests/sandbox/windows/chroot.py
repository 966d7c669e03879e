"""Lay out a directory whose SFTP looks like Windows': `chroot.py ROOT`, as root, with openssh-sftp-server there.

ROOT gets what sftp-server needs to run in a chroot, where C:\\dir is /C:/dir, as on Windows.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

SFTP_SERVER = Path("/usr/lib/openssh/sftp-server")


def lay_out(root):
    root = Path(root)
    for name in ("etc", "dev"):
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
    lay_out(sys.argv[1])
