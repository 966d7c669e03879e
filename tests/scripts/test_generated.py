"""Databases of chance, each backed up, tested and restored: no false verdict, and no damage that is not found."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .cluster import ROLE, Cluster
from .generated import OWNERS, Generated, name
from .host import Host
from .test_restore_elsewhere import administrator, leftover_roles
from .test_restore_test import tamper, verdict
from .unprivileged import give_to_user

# All that somebody has made, as PostgreSQL names it, whoever owns it, with its rights: asked of the catalogues alone.
EVERYTHING = """
    SELECT i.type, i.identity, coalesce(pg_get_userbyid(o.owner), '-'), o.acl FROM (
        SELECT 'pg_class'::regclass AS class, oid, relowner AS owner, (SELECT array_agg(a::text ORDER BY a::text)
               FROM unnest(coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner))
               ) a) AS acl
          FROM pg_class WHERE relkind NOT IN ('t', 'i', 'I', 'c') UNION ALL
        SELECT 'pg_class'::regclass, oid, relowner, NULL FROM pg_class
         WHERE relkind IN ('i', 'I') AND relnamespace <> 'pg_toast'::regnamespace UNION ALL
        SELECT 'pg_proc'::regclass, oid, proowner, (SELECT array_agg(a::text ORDER BY a::text)
               FROM unnest(coalesce(proacl, acldefault('f', proowner))) a)
          FROM pg_proc UNION ALL
        SELECT 'pg_type'::regclass, oid, typowner, NULL FROM pg_type WHERE typtype IN ('d', 'e', 'r')
            OR typrelid IN (SELECT oid FROM pg_class WHERE relkind = 'c') UNION ALL
        SELECT 'pg_constraint'::regclass, oid, NULL, NULL FROM pg_constraint
         WHERE conparentid = 0 AND contype NOT IN ('n', 't') UNION ALL
        SELECT 'pg_trigger'::regclass, oid, NULL, NULL FROM pg_trigger WHERE NOT tgisinternal UNION ALL
        SELECT 'pg_policy'::regclass, oid, NULL, NULL FROM pg_policy UNION ALL
        SELECT 'pg_rewrite'::regclass, oid, NULL, NULL FROM pg_rewrite UNION ALL
        SELECT 'pg_namespace'::regclass, oid, nspowner, (SELECT array_agg(a::text ORDER BY a::text)
               FROM unnest(coalesce(nspacl, acldefault('n', nspowner))) a) FROM pg_namespace UNION ALL
        SELECT 'pg_collation'::regclass, oid, collowner, NULL FROM pg_collation UNION ALL
        SELECT 'pg_operator'::regclass, oid, oprowner, NULL FROM pg_operator UNION ALL
        SELECT 'pg_cast'::regclass, oid, NULL, NULL FROM pg_cast UNION ALL
        SELECT 'pg_ts_config'::regclass, oid, cfgowner, NULL FROM pg_ts_config UNION ALL
        SELECT 'pg_ts_dict'::regclass, oid, dictowner, NULL FROM pg_ts_dict UNION ALL
        SELECT 'pg_statistic_ext'::regclass, oid, stxowner, NULL FROM pg_statistic_ext UNION ALL
        SELECT 'pg_extension'::regclass, oid, NULL, NULL FROM pg_extension UNION ALL
        SELECT 'pg_foreign_server'::regclass, oid, srvowner, NULL FROM pg_foreign_server UNION ALL
        SELECT 'pg_event_trigger'::regclass, oid, evtowner, NULL FROM pg_event_trigger UNION ALL
        SELECT 'pg_publication'::regclass, oid, pubowner, NULL FROM pg_publication
    ) o, pg_identify_object(o.class, o.oid, 0) i WHERE o.oid >= 16384
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = o.class AND d.objid = o.oid AND d.deptype = 'e')
    UNION ALL
    SELECT 'comment', pg_describe_object(classoid, objoid, objsubid), description, NULL FROM pg_description d
     WHERE objoid >= 16384 AND classoid <> 'pg_extension'::regclass
       AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = classoid AND e.objid = objoid AND e.deptype = 'e')
    ORDER BY 1, 2, 3
"""


@pytest.fixture
def generating(host: Host) -> Iterator[Host]:
    cluster = host.cluster
    cluster.ask("postgres", "; ".join(f"CREATE ROLE {name(each)}" for each in OWNERS[1:]))
    cluster.ask("postgres", f"ALTER ROLE {ROLE} BYPASSRLS; GRANT pg_read_all_data TO {ROLE}")
    yield host
    for database in ("generated", "restored"):
        cluster.drop_database(database)
    cluster.ask("postgres", f"ALTER ROLE {ROLE} NOBYPASSRLS; REVOKE pg_read_all_data FROM {ROLE}")
    cluster.ask("postgres", "; ".join(f"DROP ROLE {name(each)}" for each in OWNERS[1:]))


def generate(host: Host, chance: random.Random) -> None:
    """The database "generated", of that chance."""
    cluster = host.cluster
    extensions = cluster.ask("postgres", "SELECT name FROM pg_available_extensions ORDER BY 1").splitlines()
    for database in ("generated", "restored"):
        cluster.drop_database(database)
    locale = chance.choice(["LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'", "LC_COLLATE 'C.UTF-8' LC_CTYPE 'C.UTF-8'",
                            "LC_COLLATE 'C' LC_CTYPE 'C.UTF-8' LOCALE_PROVIDER icu ICU_LOCALE 'fr-FR'"])  # fmt: skip
    if cluster.major < 15:
        locale = locale.split(" LOCALE_PROVIDER")[0]
    cluster.ask("postgres", f"CREATE DATABASE generated TEMPLATE template0 OWNER {ROLE} ENCODING 'UTF8' {locale}")
    zone = chance.choice(["UTC", "Asia/Tokyo", "Europe/Paris"])
    cluster.ask("postgres", f"ALTER DATABASE generated SET timezone = '{zone}'")
    script = host.directory / "generated.sql"
    script.write_text(";\n".join(Generated(chance, extensions, cluster.major).statements()) + ";\n", encoding="utf-8")
    give_to_user(script)
    cluster.psql("generated", "--set=ON_ERROR_STOP=0", "--file", script)


def backed_up(host: Host, chance: random.Random) -> None:
    for path in host.backups.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    generate(host, chance)
    host.configure(postgres_database="generated")
    host.good_backup()


def rows(cluster: Cluster, database: str) -> str:
    """Each table's number of rows and their sum, whatever the order of columns: that of inherited ones may change."""
    named = cluster.ask(
        database,
        "SELECT json_agg(format('%I.%I', schemaname, tablename) ORDER BY schemaname, tablename) FROM pg_tables"
        " WHERE schemaname !~ '^pg_' AND schemaname <> 'information_schema'",
    )
    lines = [
        cluster.ask(database, f"SELECT $${table}$$, count(*), md5(string_agg(j::text, ',' ORDER BY j::text))"
                              f" FROM (SELECT to_jsonb(t) j FROM {table} t) each")
        for table in json.loads(named or "[]")
    ]  # fmt: skip
    lines.append(cluster.ask(database, "SELECT oid, md5(lo_get(oid)) FROM pg_largeobject_metadata ORDER BY oid"))
    lines.append(cluster.ask(database, "SELECT schemaname, sequencename, last_value FROM pg_sequences ORDER BY 1, 2"))
    lines.append(cluster.ask(database, "SELECT extname, extversion FROM pg_extension ORDER BY 1"))
    return "\n".join(lines)


def everything(cluster: Cluster, database: str) -> str:
    return cluster.ask(database, EVERYTHING)


def false_verdicts(host: Host, seed: int) -> Iterator[str]:
    """What is said of a database that is as it should be, and is wrong."""
    backed_up(host, random.Random(seed))
    manifest = host.manifest()
    # Of a name with a backslash in it nobody counts the rows, and says so with "?" in its place.
    if uncounted := [each for each in manifest["content"]["uncounted"] if "?" not in each]:
        yield f"not counted: {uncounted}"
    tested = host.restore_test()
    if tested.returncode != 0 or verdict(host)["verdict"] != "ok":
        yield f"test: {tested.stderr[-1500:]}"
    alone = "administrator alone" in (verdict(host)["message"] or "")
    needs = manifest["needs"]
    trust = ["--trust-dump"] if needs["superuser"] or needs["superuser_owners"] else []
    how = ["--as-administrator", administrator(host), *trust] if alone else []
    if not alone:
        host.cluster.ask("postgres", f"CREATE DATABASE restored TEMPLATE template0 OWNER {ROLE}")
    done = host.restore("--into", "restored", "--from", host.latest.resolve().name, *how)
    if done.returncode != 0:
        yield f"restore {how}: {done.stderr[-1500:]}"
        return
    for kind, ask in (("rows", rows), ("objects", everything)):
        was, now = (ask(host.cluster, database).splitlines() for database in ("generated", "restored"))
        if was != now:
            yield f"{kind} differ: lacks {sorted(set(was) - set(now))[:5]}, has {sorted(set(now) - set(was))[:5]}"


# What is lost or changed of a dump, its sum put right afterwards: the content alone can tell.
KINDS = ("INDEX", "CONSTRAINT", "FK CONSTRAINT", "TRIGGER", "COMMENT", "ACL", "DEFAULT", "POLICY", "STATISTICS", "RULE",
         "FUNCTION", "SEQUENCE", "SEQUENCE SET", "VIEW", "ROW SECURITY", "DEFAULT ACL", "TABLE", "DOMAIN")  # fmt: skip
ENTRY = re.compile(r"^--\n-- (?:Data for )?Name: (.*); Type: (.*?); Schema: .*\n--\n", re.MULTILINE)


def entries(sql: str) -> list[tuple[str, str, int, int]]:
    """Name, type, and where each entry of a plain dump begins and ends."""
    found = list(ENTRY.finditer(sql))
    ends = [each.start() for each in found[1:]] + [sql.rindex("--\n-- PostgreSQL database dump complete")]
    return [(each[1], each[2], each.end(), end) for each, end in zip(found, ends, strict=True)]


def lost_entry(sql: str, chance: random.Random) -> tuple[str, str] | None:
    able = [each for each in entries(sql) if each[1] in KINDS and not each[0].startswith("EXTENSION")]
    # A sequence that was never used is as it is made, and a default that is inherited comes with its parent's.
    none = (", false);", "SET DEFAULT 'late'")
    able = [each for each in able if (lost := sql[each[2] : each[3]]).strip() and not any(no in lost for no in none)]
    if not able:
        return None
    kind = chance.choice(sorted({each[1] for each in able}))
    of, _, begin, end = chance.choice([each for each in able if each[1] == kind])
    return f"{kind} lost", sql[:begin] + "\n" + sql[end:] if of else sql


def counted_tables(sql: str) -> list[tuple[str, str, int, int]]:
    """Those with some rows, but for names with a backslash: that these are not counted is told, see false_verdicts."""
    return [
        each for each in entries(sql)
        if each[1] == "TABLE DATA" and (rows := sql[each[2] : each[3]]).count("\n") > 6
        and "\\" not in rows.lstrip().split(" (")[0]
    ]  # fmt: skip


def lost_row(sql: str, chance: random.Random) -> tuple[str, str] | None:
    tables = counted_tables(sql)
    if not tables:
        return None
    _, _, begin, end = chance.choice(tables)
    lines = sql[begin:end].split("\n")
    last = lines.index("\\.")
    del lines[chance.randint(2, last - 1) if last > 2 else last - 1]
    return "row lost", sql[:begin] + "\n".join(lines) + sql[end:]


def emptied(sql: str, chance: random.Random) -> tuple[str, str] | None:
    tables = counted_tables(sql)
    if not tables:
        return None
    _, _, begin, end = chance.choice(tables)
    lines = sql[begin:end].split("\n")
    start = next(at for at, line in enumerate(lines) if line.startswith("COPY "))
    return "rows lost", sql[:begin] + "\n".join([*lines[: start + 1], *lines[lines.index("\\.") :]]) + sql[end:]


def other_owner(sql: str, chance: random.Random) -> tuple[str, str] | None:
    found = [each for each in re.finditer(r"^ALTER .* OWNER TO (.*);$", sql, re.MULTILINE)
             if each[1] not in (ROLE, "postgres")]  # fmt: skip
    if not found:  # what belongs to nobody is the database's owner's, who is the app's role
        return None
    one = chance.choice(found)
    return "owner lost", sql[: one.start()] + sql[one.end() :]


DAMAGES = (lost_entry, lost_entry, lost_entry, lost_row, emptied, other_owner)


def damage(host: Host, chance: random.Random) -> str:
    """Damage the newest dump somehow; return how."""
    how = ""

    def change(content: bytes) -> bytes:
        nonlocal how
        sql = content.decode()
        made = next(each for _ in range(50) if (each := chance.choice(DAMAGES)(sql, chance)) and each[1] != sql)
        how = made[0]
        return made[1].encode()

    tamper(host, change)
    return how


def unseen_damage(host: Host, seed: int) -> tuple[str, str]:
    """How a dump was damaged, and what the restore test says of it when it finds nothing."""
    chance = random.Random(seed)
    backed_up(host, chance)
    whole = host.latest.resolve().read_bytes()
    how = damage(host, chance)
    assert host.latest.resolve().read_bytes() != whole
    done = host.restore_test()
    found = done.returncode == 1 and verdict(host)["verdict"] == "failed"
    return how, "" if found else f"{how}: {done.stderr[-1500:]}"


def note(seed: int, what: str, host: Host) -> None:
    """What was wrong, and the statements that made the database, kept for whoever looks into it."""
    place = Path("/tmp/generated")
    place.mkdir(exist_ok=True)
    shutil.copy(host.directory / "generated.sql", place / f"{seed}.sql")
    (place / f"{seed}.txt").write_text(what, encoding="utf-8")


def test_generated_databases_have_no_false_verdict(generating: Host, chance: random.Random) -> None:
    first = chance.randint(0, 10**6)
    for seed in range(first, first + 4):
        faults = list(false_verdicts(generating, seed))
        assert not faults, f"seed {seed}: {faults}"
    assert leftover_roles(generating) == ""


@pytest.mark.fault
def test_damage_of_a_generated_database_is_found(generating: Host, chance: random.Random) -> None:
    first = chance.randint(0, 10**6)
    for seed in range(first, first + 4):
        assert not unseen_damage(generating, seed)[1], f"seed {seed}"


@pytest.mark.prove
def test_two_hundred_generated_databases(
    generating: Host, chance: random.Random, proved: Callable[[str], None]
) -> None:
    first, wrong, objects, alone = chance.randint(0, 10**6), {}, 0, 0
    for seed in range(first, first + 200):
        if faults := list(false_verdicts(generating, seed)):
            wrong[seed] = faults
            note(seed, "\n".join(faults), generating)
        objects += len(generating.manifest()["content"]["objects"])
        alone += "administrator alone" in json.dumps(verdict(generating))
    assert not wrong, json.dumps(wrong, indent=1)[:20000]
    proved(f"200 databases with {objects} objects, {alone} of them for an administrator alone: each tested good,"
           " restored equal")  # fmt: skip


@pytest.mark.prove
@pytest.mark.fault
def test_fifty_damages_of_generated_databases(
    generating: Host, chance: random.Random, proved: Callable[[str], None]
) -> None:
    first, unseen, kinds = chance.randint(0, 10**6), {}, Counter[str]()
    for seed in range(first, first + 50):
        how, missed = unseen_damage(generating, seed)
        kinds[how] += 1
        if missed:
            unseen[seed] = missed
            note(seed, missed, generating)
    assert not unseen, json.dumps(unseen, indent=1)[:20000]
    told = ", ".join(f"{number} {how}" for how, number in sorted(kinds.items()))
    proved(f"50 damages found of 50 ({told})")
