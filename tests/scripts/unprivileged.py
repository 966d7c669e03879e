"""Who the scripts and the server run as: PostgreSQL refuses root, so root's tests borrow `nobody`."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

AS_ROOT = os.geteuid() == 0
USER = pwd.getpwnam("nobody") if AS_ROOT else pwd.getpwuid(os.geteuid())
PREFIX = ["setpriv", f"--reuid={USER.pw_uid}", f"--regid={USER.pw_gid}", "--clear-groups", "--"] if AS_ROOT else []


def give_to_user(path: Path) -> None:
    if AS_ROOT:
        os.chown(path, USER.pw_uid, USER.pw_gid, follow_symlinks=False)
