"""Who is measured: the commands of each, as bash that root runs on the host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.backup import BENCH_DIR, host
from provision.settings import Settings
from provision.settings.render import render

_DROP = "runuser -u postgres -- dropdb --if-exists restored"


@dataclass(frozen=True)
class Contestant:
    """One row of a table: what is timed, what goes before it, and where the outcome lies."""

    name: str
    timed: str
    before: str = ""
    stored: str = ""


def dumps(settings: Settings) -> list[Contestant]:
    """Everything that backs the database up, the limit first."""
    pg_dump = f"{_as_backup_user(settings)} pg_dump {_connection(settings)} {host.SOURCE}"
    return [
        Contestant("pg_dump >/dev/null", f"{pg_dump} >/dev/null"),
        Contestant(
            "guide: pg_dump, gzip", f"{pg_dump} | gzip >{BENCH_DIR}/guide.sql.gz", stored=f"{BENCH_DIR}/guide.sql.gz"
        ),
        _script("script", settings),
        _variant("script, directory, 2 jobs", settings, backup_format="directory", backup_parallel_jobs=2),
        _variant("script, custom", settings, backup_format="custom", backup_parallel_jobs=2),
        _variant("script, plain-zstd", settings, backup_format="plain-zstd"),
        Contestant(
            "borgmatic, first",
            "borgmatic --no-color --verbosity -1 create",
            before=f"rm -rf {BENCH_DIR}/borg; borg init --encryption=none {BENCH_DIR}/borg",
            stored=f"{BENCH_DIR}/borg",
        ),
        Contestant("borgmatic, again", "borgmatic --no-color --verbosity -1 create", stored=f"{BENCH_DIR}/borg"),
        Contestant(
            "pgBackRest, 2 processes",
            "runuser -u postgres -- pgbackrest --stanza=main --type=full backup",
            stored=f"{BENCH_DIR}/pgbackrest/backup",
        ),
    ]


def restores(settings: Settings) -> list[Contestant]:
    """Everything that brings it back into an empty database of its own, from what the dumps left."""
    psql = f"{_as_backup_user(settings)} psql {_connection(settings)} -q restored"
    pg_restore = f"{_as_backup_user(settings)} pg_restore {_connection(settings)} -d restored"
    newest = "$(borg list --last 1 --format '{archive}' " + f"{BENCH_DIR}/borg)"
    inside = f"borg list --format '{{path}}{{NL}}' {BENCH_DIR}/borg::$archive | grep '/{host.SOURCE}$'"
    return [
        Contestant("guide: gunzip, psql", f"gunzip -c {BENCH_DIR}/guide.sql.gz | {psql}", before=_create(settings)),
        _restore("script", settings),
        _restore("script, directory, 2 jobs", settings, f"{BENCH_DIR}/directory"),
        _restore("script, custom, 2 jobs", settings, f"{BENCH_DIR}/custom"),
        Contestant(
            "borg extract, pg_restore",
            f"archive={newest}; file=$({inside}); "
            f'borg extract --stdout {BENCH_DIR}/borg::$archive "$file" | {pg_restore}',
            before=_create(settings),
        ),
        Contestant(
            "pgBackRest, 2 processes, files only",
            f"runuser -u postgres -- pgbackrest --stanza=main --pg1-path={BENCH_DIR}/restored restore",
            before=f"find {BENCH_DIR}/restored -mindepth 1 -delete",
        ),
    ]


def borgmatic_configuration(settings: Settings) -> str:
    """Its dump as fast as it can be: pg_dump compresses nothing, borg compresses with lz4."""
    return f"""repositories:
    - path: {BENCH_DIR}/borg
      label: bench
compression: lz4
unknown_unencrypted_repo_access_is_ok: true
postgresql_databases:
    - name: {host.SOURCE}
      hostname: {settings.postgres_host}
      username: {settings.postgres_user}
      format: custom
      compression: none
"""


def place(settings: Settings) -> None:
    """Put on the host what the deploy does not: the variants' scripts, borgmatic's configuration, root's password."""
    host.run("mkdir -p /etc/borgmatic; cat > /etc/borgmatic/config.yaml", borgmatic_configuration(settings))
    host.run(f"install -m 0600 {settings.backup_pgpass_file} /root/.pgpass")
    for form, jobs in (("directory", 2), ("custom", 2), ("plain-zstd", 1)):
        variant = _settings_of(settings, backup_format=form, backup_parallel_jobs=jobs)
        user = settings.backup_user
        directories = " ".join(f"{BENCH_DIR}/{form}{tier}" for tier in ("", "/weekly", "/state"))
        host.run(f"install -d -o {user} -g {user} -m 0750 {directories}")
        host.run(f"rm -rf {BENCH_DIR}/{form}-programs; cp -r {settings.backup_program_dir} {BENCH_DIR}/{form}-programs")
        host.run(f"cat > {BENCH_DIR}/{form}-programs/settings.sh", render("backup/settings.sh.j2", variant))
    host.run("export DEBIAN_FRONTEND=noninteractive; apt-get -q -y install zstd >/dev/null")


def _script(name: str, settings: Settings) -> Contestant:
    return Contestant(
        name, f"{settings.app_dir}/scripts/backup-database.sh", stored=f"$(readlink -f {settings.backup_latest})"
    )


def _variant(name: str, settings: Settings, **changed: Any) -> Contestant:
    variant = _settings_of(settings, **changed)
    script = f"{BENCH_DIR}/{variant.backup_format}-programs/backup-database.sh"
    return Contestant(name, script, stored=f"$(readlink -f {variant.backup_latest})")


def _settings_of(settings: Settings, **changed: Any) -> Settings:
    return settings.model_copy(update={**changed, "backup_dir": f"{BENCH_DIR}/{changed['backup_format']}"})


def _restore(name: str, settings: Settings, variant: str = "") -> Contestant:
    script = f"{variant}-programs/restore-database.sh" if variant else f"{settings.app_dir}/scripts/restore-database.sh"
    return Contestant(name, f"{script} --into restored", before=_DROP)


def _create(settings: Settings) -> str:
    return f"{_DROP}; runuser -u postgres -- createdb -O {settings.postgres_user} restored"


def _as_backup_user(settings: Settings) -> str:
    return f"runuser -u {settings.backup_user} -- env PGPASSFILE={settings.backup_pgpass_file} HOME=/nonexistent"


def _connection(settings: Settings) -> str:
    return f"-h {settings.postgres_host} -p {settings.postgres_port} -U {settings.postgres_user}"
