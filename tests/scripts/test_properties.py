"""What belongs to a database itself (encoding, sorting, settings, comment, grants) comes back, and none of it rises."""

from __future__ import annotations

import json

import pytest

from .cluster import ROLE, fingerprint
from .host import Host
from .test_restore import may_create  # noqa: F401
from .test_restore_elsewhere import administrator
from .unprivileged import give_to_user


def test_properties_of_the_database_come_back(host: Host, may_create: Host) -> None:  # noqa: F811
    cluster = host.cluster
    place = host.directory / "disk"
    place.mkdir(mode=0o700)
    give_to_user(place)
    cluster.ask("postgres", "CREATE ROLE apart")
    cluster.ask("postgres", f"CREATE TABLESPACE \"l'autre\" LOCATION '{place}'")
    sorted_as = "LOCALE_PROVIDER icu ICU_LOCALE 'fr-FR'" + (" ICU_RULES '&a < g'" if cluster.major >= 16 else "")
    sorted_as = sorted_as if cluster.major >= 15 else ""
    try:
        cluster.ask("postgres", f"CREATE DATABASE french TEMPLATE template0 OWNER {ROLE} ENCODING 'UTF8' LC_COLLATE"
                    f" 'C' LC_CTYPE 'C.UTF-8' {sorted_as} TABLESPACE \"l'autre\"")  # fmt: skip
        for sql in ("ALTER DATABASE french SET app.key = 'it''s \\ a secret'",
                    "ALTER DATABASE french CONNECTION LIMIT 7",
                    "ALTER DATABASE french SET search_path = \"$user\", public, autre",
                    f"ALTER ROLE {ROLE} IN DATABASE french SET statement_timeout = '5min'",
                    "COMMENT ON DATABASE french IS 'L''âme'", "REVOKE ALL ON DATABASE french FROM PUBLIC",
                    "GRANT CONNECT ON DATABASE french TO apart"):  # fmt: skip
            cluster.ask("postgres", sql)
        cluster.ask("french", "CREATE TABLE t AS SELECT 1 AS i")
        cluster.ask("french", f"ALTER TABLE t OWNER TO {ROLE}")
        told = (
            "SELECT datcollate, datctype, to_jsonb(d) ->> 'datlocprovider', to_jsonb(d) ->> 'daticurules',"
            " (SELECT spcname FROM pg_tablespace t WHERE t.oid = dattablespace), coalesce(to_jsonb(d) ->> 'datlocale',"
            " to_jsonb(d) ->> 'daticulocale'), datconnlimit, datacl,"
            " shobj_description(d.oid, 'pg_database'), (SELECT array_agg(setconfig::text || setrole ORDER BY setrole)"
            " FROM pg_db_role_setting WHERE setdatabase = d.oid) FROM pg_database d WHERE datname = 'french'"
        )
        was = cluster.ask("postgres", told)
        host.configure(postgres_database="french")
        dump = host.good_backup()
        manifest = dump.with_name(f"{dump.name}.json").read_text()
        assert "secret" not in manifest and "app.key" in manifest
        private = dump.with_name(f"{dump.name}.properties.json")
        assert "a secret" in private.read_text() and oct(private.stat().st_mode)[-3:] == "600"
        cluster.drop_database("french")
        done = host.restore("--into", "french")
        assert done.returncode == 0 and "lacks of what was set on it: the setting app.key" in done.stderr, done.stderr
        cluster.drop_database("french")
        done = host.restore("--into", "french", "--as-administrator", administrator(host))
        assert done.returncode == 0, done.stderr
        assert cluster.ask("postgres", told) == was, done.stderr
        assert "secret" not in done.stderr
    finally:
        cluster.drop_database("french")
        cluster.ask("postgres", "DROP ROLE apart")
        cluster.ask("postgres", 'DROP TABLESPACE "l\'autre"')


@pytest.mark.fault
def test_what_a_database_sets_for_its_sessions_stops_neither_dump_nor_restore(
    host: Host,
    may_create: Host,  # noqa: F811
) -> None:
    cluster, mine = host.cluster, host.database
    cluster.ask(mine, "INSERT INTO patients (nom) VALUES ('Łukasz, 5 €')")
    was = fingerprint(cluster, mine)
    for name, value in {
        "default_transaction_read_only": "on", "statement_timeout": "'1ms'", "client_encoding": "'latin1'",
        "search_path": "'', \"Éclair\", \"a \"\" b, c\"", "app.line": "'first\nC:\\second, !'",
    }.items():  # fmt: skip
        cluster.ask("postgres", f"ALTER DATABASE {mine} SET {name} = {value}")
    cluster.ask("postgres", f"ALTER DATABASE {mine} IS_TEMPLATE true")
    told = "SELECT datistemplate, setconfig FROM pg_database d, pg_db_role_setting WHERE setdatabase = d.oid"
    told += f" AND setrole = 0 AND datname = '{mine}'"
    had = cluster.ask("postgres", told)

    def dropped() -> None:
        cluster.ask("postgres", f"ALTER DATABASE {mine} IS_TEMPLATE false")
        cluster.drop_database(mine)

    try:
        host.good_backup()
        tested = host.restore_test()
        assert tested.returncode == 0, tested.stderr
        dropped()
        done = host.restore("--into", mine, "--as-administrator", administrator(host))
        assert done.returncode == 0 and cluster.ask("postgres", told) == had, done.stderr
        dropped()
        done = host.restore("--into", mine)
        assert done.returncode == 0 and "was set on it: the setting app.line: an adm" in done.stderr, done.stderr
        assert cluster.ask("postgres", told).startswith("t|")
    finally:
        cluster.ask("postgres", f"ALTER DATABASE {mine} IS_TEMPLATE false")
        cluster.ask("postgres", f"ALTER DATABASE {mine} RESET ALL")
    assert fingerprint(cluster, mine) == was


@pytest.mark.fault
def test_no_property_of_a_database_becomes_a_statement_of_its_own(host: Host, may_create: Host) -> None:  # noqa: F811
    """Its owner chooses the comment, and whoever holds the backup host the manifest: an administrator restores it."""
    cluster, mine = host.cluster, host.database
    risen, mark = f"ALTER ROLE {ROLE} SUPERUSER", host.directory / "planted"
    comment = f"COMMENT ON DATABASE {mine} IS E'a\\x1eb\\x1e{risen}\\x1e\\x1f; -- \\\\! touch {mark}'"
    cluster.ask("postgres", comment)
    told = f"SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = '{mine}'"
    was, super_ = cluster.ask("postgres", told), f"SELECT rolsuper FROM pg_roles WHERE rolname = '{ROLE}'"
    dump = host.good_backup()
    beside, manifest = (dump.with_name(f"{dump.name}{ending}") for ending in (".properties.json", ".json"))
    for limit, what in ((None, None), (f"1; {risen}", f"CONNECT ON DATABASE {mine} TO PUBLIC; {risen}; \\! id; --")):
        if limit:
            said = json.loads(manifest.read_text())
            said["properties"]["connection_limit"] = limit
            manifest.write_text(json.dumps(said))
            beside.write_text(json.dumps({**json.loads(beside.read_text()), "grants": [{"what": what, "to": None}]}))
        cluster.drop_database(mine)
        done = host.restore("--into", mine, "--as-administrator", administrator(host))
        assert cluster.ask("postgres", super_) == "f" and not mark.exists()
        assert cluster.ask("postgres", told) == was, done.stderr


@pytest.mark.fault
def test_no_setting_that_names_code_is_set_unless_the_dump_is_trusted(host: Host, may_create: Host) -> None:  # noqa: F811
    """Each session would load it, an administrator's too; and the file lies with the dump, its own user's."""
    cluster, mine, dump = host.cluster, host.database, host.good_backup()
    beside = dump.with_name(f"{dump.name}.properties.json")
    names = ("Dynamic_Library_Path", "dynamic_library_path\0", "session_preload_libraries", "plperl.on_plperl_init")
    settings = [{"name": name, "value": "/tmp/planted", "role": None} for name in names]
    settings += [{"name": "session_preload_libraries", "value": "auto_explain", "role": ROLE}]
    settings += [{"name": "plpgsql.extra_warnings", "value": "none", "role": None}]
    beside.write_text(json.dumps({**json.loads(beside.read_text()), "settings": settings}))
    told = "SELECT string_agg(unnest, ' ' ORDER BY unnest) FROM pg_db_role_setting, pg_database d, unnest(setconfig)"
    told += f" WHERE setdatabase = d.oid AND datname = '{mine}'"
    for trust, has in (([], 2), (["--trust-dump"], 5)):
        cluster.drop_database(mine)
        done = host.restore("--into", mine, "--as-administrator", administrator(host), *trust)
        found = cluster.ask("postgres", told)
        assert done.returncode == 0 and found.count("=") == has, (found, done.stderr)
        assert "session_preload_libraries=auto_explain" in found and "plpgsql.extra_warnings=none" in found
        assert ("which names code" in done.stderr) is not bool(trust), done.stderr
    cluster.drop_database(mine)
