"""`make secrets`: generate what is missing into `.secrets/<environment>.env`; or bring that file back from a vault."""

from __future__ import annotations

import tempfile
from argparse import Namespace
from pathlib import Path

from provision.commands.recover import identity_of, storage_of
from provision.engine import environments, inventory
from provision.settings import SECRET_SETTINGS, secrets
from provision.settings.project import at
from provision.vault import offline, transfer


def run(arguments: Namespace) -> int:
    if arguments.copy:
        return _bring_back(arguments)
    generated = complete(inventory.Environment(arguments.env))
    shown = "/".join(secrets.file_of(arguments.env).parts[-2:])
    print(f"{shown}: generated {', '.join(generated)}" if generated else f"{shown}: complete, nothing to generate")
    if "postgres_password" in generated:
        print("postgres_password is new: give it to the database role, or put the role's own password in its place")
    return 0


def complete(environment: inventory.Environment) -> list[str]:
    """Generate the secrets that an environment's own file lacks, and no others point at. Return their names."""
    pointed_at = environment.secrets_pointed_at()
    return secrets.generate_missing(environment.name, [name for name in SECRET_SETTINGS if name not in pointed_at])


def _bring_back(arguments: Namespace) -> int:
    """From a copy of a vault's directory, or a storage, with the key from the safe: for a clone that has nothing."""
    environments.path_of(arguments.env)
    name, place = f"{arguments.env}.env.age", storage_of(arguments)
    with tempfile.TemporaryDirectory() as here:
        try:
            if place:
                place.bring("secrets", Path(here) / "secrets", [name])
            copy = Path(here) if place else at(arguments.copy)
            path = offline.bring_back(arguments.env, copy / "secrets" / name, identity_of(arguments))
        except (offline.KeyFileError, transfer.RecoveryError) as error:
            raise environments.InventoryError(str(error)) from None
    print(f"{'/'.join(path.parts[-2:])}: as the last deploy has sealed it")
    return 0
