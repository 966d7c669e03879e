"""`make render`: every file that a deploy would put on each host, below a directory, touching no host."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from provision.app import layout as app
from provision.backup import layout as backup
from provision.debian.entries import Entry, File
from provision.engine import environments, inventory
from provision.redis import layout as redis
from provision.vault import keys, offline, sources
from provision.vault import layout as vault
from provision.windows import layout as windows


def run(arguments: Namespace) -> int:
    if not arguments.out:
        raise environments.InventoryError("say where to: make render ENV=... OUT=directory")
    out = Path(arguments.out)
    if out.exists() and not out.is_dir():
        raise environments.InventoryError(f"OUT={arguments.out} is a file: name a directory, which may be new")
    environment = inventory.Environment(arguments.env)
    _keep_out_of_git(out)
    for member in environment.chosen(arguments.limit, arguments.skip):
        for name, content in rendered(member, environment).items():
            path = out / member.name / name
            path.parent.mkdir(parents=True, exist_ok=True)
            # Some hold passwords: for whoever runs this, and nobody else.
            path.touch(mode=0o600)
            path.chmod(0o600)
            path.write_bytes(content)
            print(path)
    return 0


def _keep_out_of_git(out: Path) -> None:
    """A directory of ours alone is not committed by accident, passwords and all."""
    if not out.exists() or not any(out.iterdir()):
        out.mkdir(parents=True, exist_ok=True)
        (out / ".gitignore").write_text("*\n")


def rendered(member: inventory.Member, environment: inventory.Environment) -> dict[str, bytes]:
    """What a host gets, by each file's path below the host's own directory."""
    if member.is_windows:
        return windows.rendered(member.settings)
    files = [*files_of(member), *vault_files_of(member, environment.name, environment.members)]
    return {file.path.lstrip("/"): file.content.encode() for file in files}


def vault_files_of(member: inventory.Member, environment: str, members: list[inventory.Member]) -> list[File]:
    """What a backup host has for its vaults, and a vault for its backup hosts: with the keys that are kept."""
    settings, entries = member.settings, list[Entry]()
    vaults = sources.vaults(environment, members)
    if "backup" in member.groups and (vaults or settings.backup_offsite):
        entries += [*vault.outbox_files(settings, member.name, vaults), *([vault.sshd(settings)] if vaults else [])]
    if settings.backup_offsite and {"backup", "vault"} & set(member.groups):
        entries += vault.push_files(settings, "vault" in member.groups, member.name)
    if "vault" in member.groups:
        account = sources.account(settings.app_name, member.name)
        sign_key = keys.kept(environment, member).get("sign", sources.UNMADE)
        entries += vault.vault_files(settings, account, sources.sources(environment, members), sign_key)
        sealed = offline.sealed(environment, settings.backup_encrypt_to)
        entries += vault.sealed_secrets(settings, environment, sealed)
    return [entry for entry in entries if isinstance(entry, File)]


def files_of(member: inventory.Member) -> list[File]:
    """Every file of a Debian host's roles. Of `.env` it is the part that is ours."""
    settings, entries = member.settings, list[Entry]()
    if "redis" in member.groups:
        entries += [*redis.files(settings, app_is_here="app" in member.groups), redis.kernel(settings)]
        entries += [redis.compose_entry(settings)] if settings.redis_mode == "compose" else []
        entries += redis.no_server_of_the_package(settings) if settings.redis_mode == "instance" else []
        if settings.redis_exporter_bind:
            entries += [*redis.no_exporter_of_the_package(settings), *redis.exporter(settings)]
    if "app" in member.groups:
        entries += app.files(settings)
        lines = "".join(f"{name}={value}\n" for name, value in app.variables(settings).items())
        entries.append(File(app.env_file(settings), lines, "root", settings.app_user, 0o640))
    if "backup" in member.groups:
        entries += backup.files(settings)
    return [entry for entry in entries if isinstance(entry, File)]
