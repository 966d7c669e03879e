"""Each service that we put on a host holds no more than it needs, in systemd's own judgement."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from pydantic import SecretStr

from provision.backup import layout as backup
from provision.debian.entries import Entry, File
from provision.redis import layout as redis
from provision.settings import SECRET_SETTINGS, Settings
from provision.settings.render import TEMPLATES, render
from provision.vault import layout as vault
from provision.vault.sources import Vault
from tests.sandbox import packages

SETTINGS = Settings(
    app_name="medaction", redis_exporter_bind="127.0.0.1",
    backup_ping_url=SecretStr("https://x/{name}"), backup_offsite=["s3:b"], backup_offsite_config=SecretStr("[s3]"),
    **dict.fromkeys(SECRET_SETTINGS, SecretStr("x")),
)  # fmt: skip
ENTRIES: list[Entry] = [
    *backup.files(SETTINGS),
    *vault.outbox_files(SETTINGS, "db1", [Vault("vault1", "medaction-at-vault1", "ssh-ed25519 AAAA", "age1")]),
    *vault.vault_files(SETTINGS, "medaction-at-vault1", [], "ssh-ed25519 AAAA"),
    *vault.push_files(SETTINGS, is_vault=True, host_name="vault1"),
    *redis.script_watch(SETTINGS),
    *redis.exporter(SETTINGS),
    redis.service(SETTINGS.model_copy(update={"redis_mode": "instance"})),
    File(f"/etc/systemd/system/{SETTINGS.redis_firewall_unit}", render("redis/firewall.service.j2", SETTINGS)),
]
SERVICES = {Path(each.path).name: each for each in ENTRIES if isinstance(each, File) and each.path.endswith(".service")}


# What a hostile dump runs in is held tighter: nearly each line that is taken out of it is seen by this. A Redis has to
# be reached; Debian's own service is as exposed.
TIGHTER = {"medaction-restore-test@.service": 0.5, "medaction-redis.service": 1.2}


def test_every_service_is_looked_at() -> None:
    """One that is put in by another way than these would not be."""
    templates = {path.relative_to(TEMPLATES).as_posix() for path in TEMPLATES.glob("*/*.service.j2")}
    assert templates == {
        "backup/restore-test@.service.j2", "vault/program.service.j2", "redis/count-scripts.service.j2",
        "redis/firewall.service.j2", "redis/exporter.service.j2", "redis/instance.service.j2",
        "vault/ping.service.j2",
    }  # fmt: skip
    assert set(SERVICES) == {
        "medaction-restore-test@.service", "medaction-offsite.service", "medaction-vault.service",
        "medaction-push.service", "medaction-redis-scripts.service", SETTINGS.redis_firewall_unit,
        SETTINGS.redis_exporter_unit, "medaction-vault-ping@.service", "medaction-redis.service",
    }  # fmt: skip


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_exposed_at_most_2(name: str, tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        packages.install("systemd")
    unit = tmp_path / name.replace("@.", "@one.")
    unit.write_text(SERVICES[name].content, encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", unit],
        capture_output=True,
        text=True,
        timeout=60,
    )
    found = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
    assert found and float(found[1]) <= TIGHTER.get(name, 2.0), done.stdout + done.stderr
