"""`make keys`: an offline key for people, which opens every copy that leaves a backup host."""

from __future__ import annotations

import os
from argparse import Namespace
from datetime import UTC, datetime
from pathlib import Path

from pyrage import x25519

from provision.engine import environments
from provision.settings.project import PROJECT, at


def run(arguments: Namespace) -> int:
    environments.path_of(arguments.env)
    path = _place(arguments.out)
    identity = x25519.Identity.generate()
    public = str(identity.to_public())
    # The form of age-keygen, so that age itself can use it where this project is not at hand.
    created = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    text = f"# created: {created}\n# public key: {public}\n{identity}\n"
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        if not isinstance(error, FileExistsError):
            path.unlink(missing_ok=True)  # half a key opens nothing
        raise environments.InventoryError(f"OUT={arguments.out}: no key was written: {error.strerror}") from None
    print(
        f"{path}: a new key; whoever has this file can read every backup made from the next deploy on\n"
        "Put it on two sticks into two safes, and remove it here. Then, in"
        f" inventories/group_data/{arguments.env}.py:\n"
        f'    backup_encrypt_to = ["{public}"]\n'
        "Copies made before that deploy stay as they are: the vaults' keys open those."
    )
    return 0


def _place(out: str) -> Path:
    """Where the key is written. Raise InventoryError for a place that others get to see."""
    if not out:
        raise environments.InventoryError(
            "say where to: make keys ENV=... OUT=/path/of/a/new/file, outside this project"
        )
    path = at(out).absolute()
    if path.resolve().is_relative_to(PROJECT):
        raise environments.InventoryError(f"OUT={out} is inside this project, which is shared: name a file elsewhere")
    if path.exists():
        raise environments.InventoryError(f"OUT={out} is there already: a key is never overwritten; name another file")
    if not path.parent.is_dir():
        raise environments.InventoryError(f"OUT={out}: there is no directory {path.parent}")
    return path
