"""Lay out a stand-in host's root: an empty C: drive, the shim's state, and SFTP in a chroot. As root."""

from pathlib import Path

from tests.sandbox.windows import chroot


def install(root):
    for name in ("C:/Users/Administrator", "C:/Windows", "C:/Program Files", "state/tasks"):
        (Path(root) / name).mkdir(parents=True, exist_ok=True)
    chroot.lay_out(root)
