"""Extensions that a server must have loaded at its start, the real ones: their jobs and rows come back, and no verdict
is false."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.sandbox import packages
from tests.sandbox.errors import SandboxError

from .cluster import PASSWORD, ROLE, bin_dir, fingerprint
from .host import Host
from .test_restore_elsewhere import administrator, leftover_roles
from .test_restore_test import verdict

PACKAGES = {"pg_cron": "cron", "pgaudit": "pgaudit"}


def there() -> set[str]:
    libraries = subprocess.run([bin_dir() / "pg_config", "--pkglibdir"], capture_output=True, text=True).stdout.strip()
    found = subprocess.run(["ls", libraries], capture_output=True, text=True).stdout.split()
    return {name for name in PACKAGES if f"{name}.so" in found}


@pytest.fixture
def preloaded(host: Host) -> Iterator[Host]:
    missing = set(PACKAGES) - there()
    if missing and str(bin_dir()).startswith("/usr/lib/"):
        try:
            packages.install(*(f"postgresql-{host.cluster.major}-{PACKAGES[name]}" for name in missing))
        except SandboxError as error:
            pytest.skip(str(error))
    if set(PACKAGES) - there():
        pytest.skip("this server has no pg_cron and pgaudit")
    cluster = host.cluster
    cluster.ask("postgres", f"ALTER ROLE {ROLE} BYPASSRLS; GRANT pg_read_all_data TO {ROLE}")
    for setting, value in (("shared_preload_libraries", "pg_cron, pgaudit"), ("cron.database_name", host.database)):
        cluster.ask("postgres", f"ALTER SYSTEM SET {setting} = {value}" if "," in value else
                    f"ALTER SYSTEM SET {setting} = '{value}'")  # fmt: skip
        if setting == "shared_preload_libraries":
            cluster.restart()
    cluster.restart()
    cluster.ask(host.database, "CREATE EXTENSION pg_cron; CREATE EXTENSION pgaudit")
    cluster.ask(host.database, f"SELECT cron.schedule('nightly', '0 3 * * *', 'VACUUM');"
                               f" GRANT USAGE ON SCHEMA cron TO {ROLE}")  # fmt: skip
    yield host
    for name in (host.database, f"{host.database}_old"):
        cluster.drop_database(name)
    cluster.ask("postgres", f"ALTER ROLE {ROLE} NOBYPASSRLS; REVOKE pg_read_all_data FROM {ROLE}")
    cluster.ask("postgres", "ALTER SYSTEM RESET ALL")
    cluster.restart()


@pytest.mark.fault
def test_what_must_be_loaded_at_the_start_is_tested_and_restored(preloaded: Host) -> None:
    host = preloaded
    host.good_backup()
    tested = host.restore_test()
    assert tested.returncode == 0, tested.stderr
    assert verdict(host)["verdict"] == "ok" and "restorable by an administrator alone" in verdict(host)["message"]
    wanted = fingerprint(host.cluster, host.database)
    jobs = "SELECT jobid, jobname, schedule, command FROM cron.job"
    planned = host.cluster.ask(host.database, jobs)
    beside = host.restore("--into", host.database, "--overwrite", host.database,
                          "--as-administrator", administrator(host))  # fmt: skip
    assert beside.returncode == 2 and "pg_cron can be made in one database" in beside.stderr, beside.stderr
    host.cluster.ask("postgres", f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname ="
                     f" '{host.database}'; ALTER DATABASE {host.database} RENAME TO {host.database}_old")  # fmt: skip
    done = host.restore("--into", host.database, "--as-administrator", administrator(host))
    assert done.returncode == 0, done.stderr
    assert fingerprint(host.cluster, host.database) == wanted
    assert host.cluster.ask(host.database, jobs) == planned and "nightly" in planned
    assert host.cluster.ask(host.database, "SELECT nextval('cron.jobid_seq')") == "2"
    assert leftover_roles(host) == "" and PASSWORD not in done.stderr


@pytest.mark.fault
def test_what_this_host_lacks_is_not_tested_and_is_no_failed_verdict(preloaded: Host) -> None:
    host = preloaded
    dump = host.good_backup()
    path = dump.with_name(f"{dump.name}.json")
    path.write_text(path.read_text().replace('"pgaudit": {', '"pg_elsewhere": {'))
    done = host.restore_test()
    assert done.returncode == 1 and "not tested: here is no extension pg_elsewhere: install " in done.stderr
    assert verdict(host)["verdict"] == "not made"
    assert host.backup("--check").returncode != 2
