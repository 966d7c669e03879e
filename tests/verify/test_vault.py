"""Copies off the backup host: proven, fresh, signed, and out of everybody's reach."""

from __future__ import annotations

import json
import shlex

import pytest

from provision.vault import layout, sources
from tests.verify.target import Target


def test_vault_has_proven_the_newest_copies_of_every_host(vault_host: Target) -> None:
    settings = vault_host.settings
    said = vault_host.text(f"{settings.backup_program_dir}/vault.sh --report")
    entries = [json.loads(line) for line in said.splitlines()]
    vault_host.expect(entries, "nothing was fetched yet: see journalctl -u " + f"{settings.app_name}-vault")
    for entry in entries:
        name, hours = f"{entry['host']}: {entry['database']}", entry["proven_hours"]
        vault_host.expect(hours is not None, f"{name}: no copy was ever proven")
        allowed = settings.vault_maximum_age_hours
        vault_host.expect(hours <= allowed, f"{name}: the newest proven copy came {hours} h ago, allowed are {allowed}")


def test_vault_fetches_by_itself(vault_host: Target) -> None:
    timer = f"{vault_host.settings.app_name}-vault.timer"
    vault_host.expect(vault_host.run(f"systemctl is-active {timer}").returncode == 0, f"{timer} does not run")


def test_what_a_vault_stores_and_its_keys_are_roots_alone(vault_host: Target) -> None:
    settings = vault_host.settings
    vault_host.text(f"runuser -u {settings.vault_user} -- true")  # so that a refusal below is one
    for path in (f"{settings.vault_dir}/store", *(f"{settings.vault_config_dir}/{key}" for key in ("age", "sign"))):
        allowed = vault_host.run(f"runuser -u {settings.vault_user} -- test -r {path}").returncode == 0
        vault_host.expect(not allowed, f"{settings.vault_user}, who talks to backup hosts, may read {path}")


def test_vaults_see_the_outbox_and_nothing_else(offsite_host: Target, request: pytest.FixtureRequest) -> None:
    settings = offsite_host.settings
    environment = request.config.environment
    for vault in sources.vaults(environment.name, environment.members):
        asked = f"user={vault.account},host=vault,addr=192.0.2.1"
        effective = offsite_host.text(f"$(command -v sshd || echo /usr/sbin/sshd) -T -C {shlex.quote(asked)}").lower()
        for line in (
            f"chrootdirectory {settings.backup_outbox}",
            "forcecommand internal-sftp -r -l info",
            f"authorizedkeysfile {layout.accounts_dir(settings)}/%u",
            "disableforwarding yes",
        ):
            offsite_host.expect(line in effective.splitlines(), f"sshd does not hold {vault.account} to: {line}")


def test_nothing_in_the_outbox_is_in_plain_text(offsite_host: Target) -> None:
    settings = offsite_host.settings
    listed = offsite_host.text(f"find {settings.backup_outbox}/daily {settings.backup_outbox}/weekly -type f").split()
    for path in listed:
        head = offsite_host.text(f"head -c 21 {shlex.quote(path)} | tr -d '\\0'")
        told = path.endswith(".manifest.json") or head == "age-encryption.org/v1"
        offsite_host.expect(told, f"{path} is not encrypted")
