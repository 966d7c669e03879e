"""`make secrets`: generate what is missing into `.secrets/<environment>.env`."""

from __future__ import annotations

from argparse import Namespace

from provision.engine import inventory
from provision.settings import SECRET_SETTINGS, secrets


def run(arguments: Namespace) -> int:
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
