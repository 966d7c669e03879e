"""What is said when something is in the way: the cause, and what helps, which is then done and helps."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from provision.settings.project import PROJECT

from .cluster import ROLE, fingerprint
from .host import Host
from .unprivileged import AS_ROOT

# What an administrator has done, what is said of it, and what the sentence advises, as an administrator does it.
IN_THE_WAY = {
    "a large object of another role": (
        "SELECT lo_create(4711)", "pg_read_all_data does not reach large objects",
        f"ALTER LARGE OBJECT 4711 OWNER TO {ROLE}",
    ),
    "no right to connect": (
        "ALTER DATABASE {db} OWNER TO postgres; REVOKE CONNECT ON DATABASE {db} FROM PUBLIC",
        'GRANT CONNECT ON DATABASE "{db}" TO "medaction"', 'GRANT CONNECT ON DATABASE "{db}" TO "medaction"',
    ),
    "rows that are hidden": (
        f"CREATE TABLE hidden (i int); GRANT SELECT ON hidden TO {ROLE}; ALTER TABLE hidden ENABLE ROW LEVEL SECURITY",
        'ALTER ROLE "medaction" BYPASSRLS', 'ALTER ROLE "medaction" BYPASSRLS',
    ),
    "a table of another role": (
        "CREATE TABLE theirs (i int)", "grant the role pg_read_all_data", f"GRANT pg_read_all_data TO {ROLE}"
    ),
}  # fmt: skip


@pytest.fixture
def rights(host: Host) -> Iterator[Host]:
    host.configure(postgres_backup_user=ROLE)  # as where there is no role for dumps
    yield host
    host.cluster.ask("postgres", f"ALTER ROLE {ROLE} NOBYPASSRLS; REVOKE pg_read_all_data FROM {ROLE}")


@pytest.mark.fault
@pytest.mark.parametrize("case", IN_THE_WAY)
def test_advice_helps(rights: Host, case: str) -> None:
    host = rights
    done, said, advised = (text.format(db=host.database) for text in IN_THE_WAY[case])
    for sql in done.split("; "):
        host.cluster.ask(host.database, sql)
    run = host.backup()
    assert run.returncode == 1 and said in run.stderr, run.stderr
    assert said in host.status()["message"] and said in host.told.read_text()
    host.cluster.ask(host.database, advised)
    host.good_backup()


def test_plain_sql_that_nobody_has_packed_is_no_damaged_dump(host: Host) -> None:
    dump = host.good_backup()
    plain = host.backups / "by-hand.sql"
    plain.write_bytes(gzip.decompress(dump.read_bytes()))
    plain.chmod(0o644)
    target = host.cluster.new_database(template="template0")
    done = host.restore("--into", target, "--from", str(plain))
    assert done.returncode == 0, done.stderr
    assert fingerprint(host.cluster, target) == fingerprint(host.cluster, host.database)


@pytest.mark.fault
@pytest.mark.skipif(not AS_ROOT, reason="root has files that others may not see")
@pytest.mark.parametrize("where", ["root/dump.sql.gz", "root/below/dump.sql.gz", "dump.sql.gz"])
def test_file_that_the_backup_user_cannot_read_is_told_for_what_it_is(host: Host, where: str) -> None:
    path = host.directory / where
    (host.directory / "root").mkdir(mode=0o700)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(host.good_backup().read_bytes())
    path.chmod(0o600)
    done = host.restore("--into", "neuve", "--from", str(path), as_root=True)
    assert done.returncode == 2 and f"cannot read {path}: copy it into" in done.stderr, done.stderr
    absent = host.restore("--into", "neuve", "--from", str(host.directory / "absent.sql.gz"), as_root=True)
    assert absent.returncode == 2 and "there is no " in absent.stderr


@pytest.mark.fault
def test_tool_that_ends_without_a_word_leads_to_the_disks(host: Host) -> None:
    host.shim("pg_dump", '[[ "$*" == *--version* ]] && exec "${real[@]}" "$@"; exit 1')
    done = host.backup()
    assert done.returncode == 1 and re.search("gave no reason: see that the disks of .* have room", done.stderr)


@pytest.mark.fault
def test_part_that_is_there_already_or_refers_to_what_is_not(host: Host) -> None:
    host.good_backup()
    twice = ("--into", host.database, "--overwrite", host.database)
    there = host.restore(*twice, "--table", "patients")
    assert there.returncode == 2 and "rename or drop these" in there.stderr and "table public.patients" in there.stderr
    assert "--into medaction_check" in there.stderr
    target = host.cluster.new_database()
    twice = ("--into", target, "--overwrite", target)
    host.cluster.ask(target, 'TRUNCATE patients, "Réclamations"')
    alone = host.restore(*twice, "--table", "Réclamations", "--data-only")
    assert alone.returncode == 1 and "restore those tables first, then these" in alone.stderr, alone.stderr
    for table in ("patients", "Réclamations"):
        done = host.restore(*twice, "--table", table, "--data-only")
        assert done.returncode == 0, done.stderr


@pytest.mark.fault
@pytest.mark.parametrize(
    "form", [{}, {"backup_format": "custom"}, {"backup_format": "directory", "backup_parallel_jobs": 2}]
)
def test_role_that_a_dump_of_elsewhere_needs_is_named_and_made(host: Host, form: dict) -> None:
    """Whose manifest is not there to say so beforehand."""
    host.configure(**form)
    ask, role = host.cluster.ask, f"leaver{len(form)}"
    ask("postgres", f"CREATE ROLE {role}; GRANT {role} TO {ROLE}")
    ask(host.database, f"CREATE TABLE theirs (i int); ALTER TABLE theirs OWNER TO {role}")
    host.good_backup()
    dump = min(host.backups.glob("medaction_[0-9]*.json"), key=lambda path: len(path.name)).with_suffix("")
    there = host.backups / f"elsewhere.{dump.name.partition('.')[2]}"
    dump.rename(there)
    ask(host.database, f"DROP TABLE theirs; DROP ROLE {role}")
    target = host.cluster.new_database(template="template0")
    done = host.restore("--into", target, "--from", str(there))
    assert done.returncode == 1 and f'role "{role}" does not exist' in done.stderr, done.stderr
    assert "make that role, or use --as-administrator URL --with-roles, or --no-owner" in done.stderr
    host.cluster.drop_database(target)
    ask("postgres", f"CREATE ROLE {role}; GRANT {role} TO {ROLE}")
    target = host.cluster.new_database(template="template0")
    ask(target, f"GRANT CREATE ON SCHEMA public TO {role}")
    done = host.restore("--into", target, "--from", str(there))
    host.cluster.drop_database(target)
    ask("postgres", f"DROP ROLE {role}")
    assert done.returncode == 0, done.stderr


def test_no_sentence_ends_with_mend_that() -> None:
    files = [path for path in (PROJECT / "files").rglob("*") if path.suffix in (".sh", ".ps1")]
    assert files and not [path for path in files if "mend that" in Path(path).read_text(encoding="utf-8")]
