"""What lies on a backup host for its vaults, and on a vault, rendered. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from pathlib import Path

from provision.backup import layout as backup
from provision.debian.entries import Directory, Entry, File
from provision.settings import Settings
from provision.settings.project import PROJECT
from provision.settings.render import FILES, plain, render
from provision.vault.sources import Source, Vault


def accounts_dir(settings: Settings) -> str:
    """Where sshd finds which key opens which vault's account: root's, readable by all."""
    return f"/etc/ssh/{settings.backup_outbox_group}"


def outbox_directories(settings: Settings) -> list[Entry]:
    """What sshd makes the vaults' root directory: root's, and nobody else can write on the way there."""
    outbox, group = settings.backup_outbox, settings.backup_outbox_group
    return [
        Directory(f"/var/lib/{settings.app_name}"),
        Directory(outbox, "root", group, 0o750),
        *(Directory(f"{outbox}/{tier}", "root", group, 0o750) for tier in ("daily", "weekly")),
        Directory(f"{outbox}/dev", "root", group, 0o750),
        Directory(settings.backup_outbox_work, "root", "root", 0o700),
        Directory(accounts_dir(settings)),
    ]


def outbox_files(settings: Settings, source_name: str, vaults: Sequence[Vault]) -> list[Entry]:
    """The program that fills the outbox, whose keys it encrypts to, who may read it."""
    there = settings.backup_program_dir
    return [
        backup.recipients(settings, recipients_of(settings, vaults)),
        *(File(f"{accounts_dir(settings)}/{each.account}", f"restrict {each.ssh}\n") for each in vaults),
        File(
            f"{there}/outbox-settings.sh",
            render(
                "vault/outbox-settings.sh.j2", settings, source_name=source_name,
                recipients_file=settings.backup_recipients_file, accounts=[each.account for each in vaults],
            ),
        ),
        File(f"{there}/offsite.sh", plain("vault/offsite.sh"), mode=0o755),
        *units(
            settings, "offsite", "offsite.sh", "*:0/10", "encrypted copies for the vaults",
            writable=[settings.backup_outbox, settings.backup_outbox_work],
            # It looks what dumps there are, reads them as their owner, and gives copies to the vaults' group.
            capabilities="CAP_CHOWN CAP_DAC_READ_SEARCH CAP_SETUID CAP_SETGID",
        ),
        File(f"/etc/systemd/system/{log_mount(settings)}", render("vault/dev-log.mount.j2", settings)),
    ]  # fmt: skip


def recipients_of(settings: Settings, vaults: Sequence[Vault]) -> list[str]:
    """Whose private halves open what leaves a backup host."""
    return [*(each.age for each in vaults), *settings.backup_encrypt_to]


def sshd_noted(settings: Settings) -> str:
    """Which of our drop-ins sshd has read."""
    return f"{accounts_dir(settings)}.loaded"


def sshd(settings: Settings) -> File:
    return File(
        f"/etc/ssh/sshd_config.d/{settings.backup_outbox_group}.conf",
        render("vault/sshd.conf.j2", settings, keys_dir=accounts_dir(settings)),
    )


def log_mount(settings: Settings) -> str:
    """The mount unit of the journal's socket, named as systemd derives it from its place (systemd.unit(5))."""
    path = f"{settings.backup_outbox}/dev/log".strip("/")
    return "".join(c if c.isalnum() or c in "_.:" else "-" if c == "/" else f"\\x{ord(c):02x}" for c in path) + ".mount"


def units(
    settings: Settings, name: str, program: str, calendar: str, what: str, writable: Sequence[str], capabilities: str,
    told: str = "",
) -> list[Entry]:  # fmt: skip
    """A service that runs a program once, writing below these directories alone, and the timer that starts it.

    `told` is a unit of which an instance is started at each end of it, `success` or `failure`.
    """
    unit, description = f"/etc/systemd/system/{settings.app_name}-{name}", f"{settings.app_name}: {what}"
    path = f"{settings.backup_program_dir}/{program}"
    return [
        File(
            f"{unit}.service",
            render(
                "vault/program.service.j2",
                settings,
                description=description,
                program=path,
                writable=writable,
                capabilities=capabilities,
                told=told,
            ),
        ),
        File(
            f"{unit}.timer",
            render("vault/program.timer.j2", settings, description=description, calendar=calendar),
        ),
    ]


def vault_directories(settings: Settings) -> list[Entry]:
    """What is stored is root's; where it arrives is the fetching user's; where it is restored, the restoring one's."""
    user, restorer, root = settings.vault_user, settings.backup_user, settings.vault_dir
    return [
        *([Directory(f"/var/lib/{settings.app_name}")] if root.startswith(f"/var/lib/{settings.app_name}/") else []),
        Directory(root),
        Directory(f"{root}/store", "root", "root", 0o700),
        Directory(f"{root}/state", "root", "root", 0o700),
        Directory(f"{root}/secrets", "root", "root", 0o700),
        Directory(f"{root}/incoming", user, user, 0o700),
        Directory(settings.vault_proof_dir, restorer, restorer, 0o700),
        Directory(settings.backup_state_dir, restorer, restorer, 0o750),
        backup.restore_test_directory(settings),
        Directory(settings.backup_program_dir),
        Directory(f"{settings.backup_program_dir}/lib"),
        Directory(settings.vault_config_dir),
    ]


def scratch(settings: Settings) -> list[str]:
    """What is worth nothing without the vault."""
    directories = [settings.vault_proof_dir, settings.backup_state_dir, settings.backup_restore_test_dir]
    metrics = f"{settings.backup_metrics_dir}/{settings.app_name}-vault.prom"
    return [*directories, *([metrics] if settings.backup_metrics_dir else [])]


def vault_files(settings: Settings, account: str, sources: Sequence[Source], sign_key: str) -> list[Entry]:
    """The vault's program, the restore that it proves copies with, and what it knows of the backup hosts."""
    there = settings.backup_program_dir
    hosts = "".join(f"{each.name} {each.host_key}\n" for each in sources)
    return [
        *restoring(settings),
        *(File(f"{there}/lib/{path.name}", plain(f"vault/lib/{path.name}")) for path in _parts()),
        File(
            f"{there}/vault-settings.sh",
            render("vault/vault-settings.sh.j2", settings, sources=sources, account=account),
        ),
        File(f"{there}/vault-metrics.jq", plain("vault/vault-metrics.jq")),
        *(File(f"{there}/{name}", plain(f"vault/{name}"), mode=0o755) for name in ("fetch-files.sh", "vault.sh")),
        File(f"{settings.vault_config_dir}/known_hosts", hosts or "# no backup host\n"),
        File(f"{settings.vault_config_dir}/signers", f"vault {sign_key}\n"),
        *units(
            settings,
            "vault",
            "vault.sh",
            "hourly",
            "fetch and prove the backups",
            writable=[
                settings.vault_dir,
                settings.vault_proof_dir,
                settings.backup_state_dir,
                settings.backup_restore_test_dir,
                *([settings.backup_metrics_dir] if settings.backup_metrics_dir else []),
            ],
            # It takes what the fetching user has brought, hands it to the restoring one, and ends their processes.
            capabilities="CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_SETUID CAP_SETGID CAP_KILL",
            told=f"{settings.app_name}-vault-ping" if settings.backup_ping_url else "",
        ),
        *(_ping(settings) if settings.backup_ping_url else ()),
    ]


def _ping(settings: Settings) -> list[Entry]:
    """What tells a dead man's switch of each visit's end."""
    unit = render("vault/ping.service.j2", settings, writable=[], capabilities="")
    return [
        Directory(settings.backup_config_dir, "root", settings.backup_user, 0o750),
        *backup.ping(settings),
        File(f"{settings.backup_program_dir}/how-it-ended.sh", plain("vault/how-it-ended.sh"), mode=0o755),
        File(f"/etc/systemd/system/{settings.app_name}-vault-ping@.service", unit),
    ]


def push_directories(settings: Settings) -> list[Entry]:
    return [
        Directory(f"/var/lib/{settings.app_name}"),
        Directory(settings.backup_offsite_state, "root", "root", 0o700),
        Directory(posixpath.dirname(settings.backup_offsite_config_file), "root", "root", 0o700),
        Directory(settings.backup_program_dir),
    ]


def push_files(settings: Settings, is_vault: bool, host_name: str) -> list[Entry]:
    """The program that copies on to `backup_offsite`: a vault's store and sealed secrets, or a backup host's outbox.

    A place has the same layout either way, that of a vault's directory.
    """
    assert settings.backup_offsite_config is not None  # the settings' own rule
    there = settings.backup_program_dir
    source, parts, below = (
        (settings.vault_dir, ["store", "secrets"], "")
        if is_vault
        else (settings.backup_outbox, ["daily", "weekly"], f"store/{host_name}/")
    )
    config = settings.backup_offsite_config.get_secret_value().rstrip("\n") + "\n"
    return [
        File(settings.backup_offsite_config_file, config, mode=0o600),
        *_root_certificate(settings),
        File(
            f"{there}/push-settings.sh",
            render("vault/push-settings.sh.j2", settings, source=source, parts=parts, below=below),
        ),
        File(f"{there}/push.sh", plain("vault/push.sh"), mode=0o755),
        *units(
            settings, "push", "push.sh", "*:5/10", "copies of what is encrypted, on to backup_offsite",
            writable=[settings.backup_offsite_state],
            capabilities="CAP_DAC_READ_SEARCH",
        ),
    ]  # fmt: skip


def _root_certificate(settings: Settings) -> list[Entry]:
    root = settings.backup_offsite_root_certificate
    return [File(settings.backup_offsite_root_certificate_file, (PROJECT / root).read_text("ascii"))] if root else []


def push_paths(settings: Settings) -> list[str]:
    """What `push_files` has made."""
    there, unit = settings.backup_program_dir, f"/etc/systemd/system/{settings.app_name}-push"
    programs = [f"{there}/push-settings.sh", f"{there}/push.sh"]
    keys = settings.backup_offsite_config_file
    # The keys last: a removal that is cut goes on from there.
    return [f"{unit}.timer", f"{unit}.service", *programs, f"{posixpath.dirname(keys)}/ca.crt", keys]


def sealed_secrets(settings: Settings, environment: str, sealed: str) -> list[Entry]:
    """What only people's own key opens, in a vault for the day when nothing else is left."""
    path = f"{settings.vault_dir}/secrets/{environment}.env.age"
    return [File(path, sealed, mode=0o600)] if sealed else []


def restoring(settings: Settings) -> list[Entry]:
    """The backup hosts' own programs: a proof is the restore that the runbook describes."""
    here = settings.model_copy(
        update={
            "backup_dir": settings.vault_proof_dir,
            "backup_restore_test_host": "",
            "postgres_mode": "direct",
            "backup_encrypt_local": False,  # what is to be proven was opened
            "backup_failure_hook": "",
            "backup_hook": "",
            "backup_metrics_dir": "",  # the vault's own program writes its own
        }
    )
    not_here = (*(backup.program(settings, name) for name in ("backup-database.sh", "setup-cron.sh")),)
    return [
        *(
            file
            for file in backup.programs(here)
            if file.path not in not_here and not file.path.startswith(f"{settings.app_dir}/")
        ),
        backup.restore_test_unit(here),
    ]


def _parts() -> list[Path]:
    return sorted((FILES / "vault/lib").glob("*.sh"))
