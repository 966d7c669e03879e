"""What a captured host, a broken network, a full disk or a lost key can do to copies in a vault: nothing."""

from __future__ import annotations

import base64
import json
import re
import shlex
import time

import pytest

from bench import memory
from provision.engine.private import PrivateInput
from tests.e2e.operator import Operator
from tests.e2e.tables import contents
from tests.e2e.vaults import HOSTS, OUTBOX, STORE, UNTIL_FREE, encrypt, mark, newest, night, stored, vault, visit
from tests.limiter.waiting import until
from tests.sandbox.fleet import PREFIX

pytestmark = pytest.mark.servers


@pytest.mark.prove
def test_host_that_was_captured_can_change_nothing_that_was_fetched(both: Operator) -> None:
    before, good = stored(both), newest(both)
    truth = contents(both.postgres)
    # Root on db1: what it has, it takes away, rewrites and fakes.
    both.read("db1", f"""
        cd {OUTBOX}/daily
        printf 'held to ransom' > {good}.age
        sed -i 's/"\\(bytes\\|database_bytes\\)": [0-9]*/"\\1": 14/' {good}.manifest.json
        cp {good}.manifest.json medaction_2026-01-01_00-00-00.sql.gz.manifest.json
        echo '{{"version": 1, "dump": "../../../../etc/cron.d/x"}}' > medaction_2026-01-02_00-00-00.sql.gz.manifest.json
        touch "$(printf 'medaction_2026-01-03_00-00-00.sql.gz\\n.manifest.json')" '-oProxyCommand=id.manifest.json'
        ln -s /etc/shadow medaction_2026-01-04_00-00-00.sql.gz.manifest.json
        seq -f 'medaction_2026-01-05_%06g.sql.gz.manifest.json' 2000 | xargs touch
        rm -rf /opt/medaction/backups/*.gz*
    """)  # fmt: skip
    visit(both)
    assert {path: digest for path, digest in stored(both).items() if path in before} == before
    assert set(stored(both)) == set(before)
    said = both.on("vault1", "/usr/local/lib/medaction/vault.sh --check")
    assert said.returncode == 2
    assert f"{good} was changed there after it was fetched" in said.stdout
    assert "medaction_2026-01-02_00-00-00.sql.gz.manifest.json is no manifest of ours" in said.stdout
    # It knows nothing by which it could reach the vault.
    assert both.on("db1", "ssh -o BatchMode=yes -o StrictHostKeyChecking=no root@vault1 true").returncode != 0

    both.bare("db1")
    done = both.run("make", "-s", "recover", "HOST=db1")
    assert done.returncode == 0 and f"{good}, proven, from vault1" in done.stdout, done.stdout
    both.deploy(HOSTS)
    both.read("db1", f"/usr/local/lib/medaction/restore-database.sh --into medaction_back --from {good}")
    assert contents(lambda sql: both.postgres(sql, "medaction_back")) == truth
    # The recovered host has encrypted the dump anew: that is no change, and nothing of it replaces what was proven.
    assert both.read("db1", f"sha256sum {OUTBOX}/daily/{good}.age").split()[0] != before[f"./daily/{good}.age"]
    assert visit(both).returncode == 0
    assert before.items() <= stored(both).items()
    assert both.on("vault1", "/usr/local/lib/medaction/vault.sh --check").returncode == 1  # of the attack, still
    mark(both)  # as the dump has it that is compared with


@pytest.mark.prove
def test_manifest_that_tells_the_sums_of_the_dump_and_others_of_its_files_changes_nothing(both: Operator) -> None:
    night(both)
    before, manifest = stored(both), f"{OUTBOX}/daily/{newest(both)}.manifest.json"
    whole = both.read("db1", f"cat {manifest}")
    told = json.loads(whole)
    for change, quiet in (
        ({"recipients": []}, True),
        ({"files": [{**each, "sha256": "0" * 64, "bytes": 14} for each in told["files"]]}, True),
        ({"files": [{**each, "plain_sha256": "0" * 64} for each in told["files"]]}, False),
        ({"files": told["files"][:2]}, False),
        ({"database": "other"}, False),
    ):
        both.on("db1", f"cat > {manifest}", PrivateInput(json.dumps({**told, **change})))
        assert (visit(both).returncode == 0) == quiet, change
        assert stored(both) == before
    both.on("db1", f"cat > {manifest}", PrivateInput(whole))


@pytest.mark.prove
def test_dump_that_does_not_restore_is_never_signed(both: Operator) -> None:
    night(both)
    dump, signed = newest(both), {path for path in stored(both) if path.endswith(".sig")}
    # A host that is not what it was makes a dump that says what it likes of itself.
    both.read("db1", f"""
        cd /opt/medaction/backups && new=medaction_$(date +%Y-%m-%d_%H-%M-%S).sql.gz
        gzip -dc {dump} | sed 's/CREATE TABLE/CREATE TABEL/' | gzip > $new
        sum=$(sha256sum <$new | cut -d ' ' -f 1)
        sed -e "s/{dump}/$new/" -e "s/\\"sha256\\": \\"[0-9a-f]*\\"/\\"sha256\\": \\"$sum\\"/" {dump}.json > $new.json
        cp {dump}.globals.gz $new.globals.gz
        chown medaction-backup: $new*
        chmod 0600 $new*
    """)  # fmt: skip
    encrypt(both)
    assert visit(both).returncode != 0
    assert {path for path in stored(both) if path.endswith(".sig")} == signed
    assert "is not proven (failed)" in vault(both, "--check")
    done = both.run("make", "-s", "recover", "HOST=db1")
    assert f"{dump}, proven" in done.stdout and "it is not proven (failed)" in done.stdout, done.stdout
    both.read("db1", f"rm /opt/medaction/backups/{newest(both)}*")


@pytest.mark.prove
@pytest.mark.fault
def test_fetch_that_was_cut_goes_on_where_it_stopped(both: Operator) -> None:
    both.read("db1", "/usr/local/lib/medaction/backup-database.sh")
    encrypt(both)
    dump, settings = newest(both), "/usr/local/lib/medaction/vault-settings.sh"
    both.read("vault1", f"""
        sed -i 's/^readonly vault_bandwidth_kbit=.*/readonly vault_bandwidth_kbit=8000/' {settings}
        systemctl start --no-block medaction-vault
        for i in $(seq 200); do
            at=$(stat -c %s /var/lib/medaction/vault/incoming/db1.daily.{dump}.*/{dump}.age 2>/dev/null || echo 0)
            [ "$at" -gt 2000000 ] && break; sleep 0.1
        done
        systemctl kill --signal=KILL medaction-vault; systemctl kill --signal=KILL medaction-vault-fetch
        sed -i 's/^readonly vault_bandwidth_kbit=.*/readonly vault_bandwidth_kbit=0/' {settings}
    """)  # fmt: skip
    assert f"./daily/{dump}.manifest.json" not in stored(both)
    assert visit(both).returncode == 0
    sftp_log = both.read("db1", f"journalctl -t internal-sftp -o cat | grep 'close \"/daily/{dump}.age\"' | tail -1")
    size = int(both.read("vault1", f"stat -c %s {STORE}/daily/{dump}.age"))
    assert 0 < int(re.search(r"bytes read (\d+)", sftp_log)[1]) < size
    assert f"./daily/{dump}.manifest.json.sig" in stored(both)


@pytest.mark.prove
def test_copy_that_every_vault_has_read_goes_and_the_newest_stays(both: Operator) -> None:
    night(both)
    night(both)
    settings = "/usr/local/lib/medaction/outbox-settings.sh"
    both.read("db1", f"sed -i 's/^readonly outbox_days=.*/readonly outbox_days=0/' {settings}")
    both.read("db1", "sleep 1")
    encrypt(both)
    left = both.read("db1", f"ls {OUTBOX}/daily").split()
    assert f"{newest(both)}.manifest.json" in left
    dumps = both.read("db1", "cd /opt/medaction/backups; ls medaction_2*.sql.gz").split()
    assert len([each for each in left if each.endswith(".manifest.json")]) < len(dumps)
    both.deploy("db1")


@pytest.mark.prove
@pytest.mark.fault
@pytest.mark.parametrize(
    ("done", "said"),
    [
        ("truncate -s -1 $copy.age", "is not what its manifest says"),
        ("printf x | dd of=$copy.age conv=notrunc seek=500 bs=1 status=none", "is not what its manifest says"),
        ("echo more >>$copy.age", "is longer there than its manifest says"),
        ("rm $copy.age", "could not be fetched"),
        ("chmod 0600 $copy.json.age", "could not be fetched"),
        ("rm $copy.age; mkdir $copy.age", "could not be fetched"),
        ("rm $copy.age; mkfifo $copy.age", "could not be fetched"),
        ("rm $copy.age; ln -s /dev/log $copy.age", "could not be fetched"),
        ("rm $copy.age; mknod -m 0644 $copy.age c 1 5", "could not be fetched"),
        ("rm $copy.age; mknod -m 0644 $copy.age b 7 0", "could not be fetched"),
        (
            "rm $copy.age; perl -MSocket -e 'socket S, AF_UNIX, SOCK_STREAM, 0; bind S, sockaddr_un shift' $copy.age",
            "could not be fetched",
        ),
        ("rm $copy.manifest.json; mknod -m 0644 $copy.manifest.json c 1 5", "could not be fetched"),
        ("ln -f $copy.globals.gz.age $copy.age", "is not what its manifest says"),
        ("ln -f $copy.age $copy.globals.gz.age", "is longer there than its manifest says"),
        ("truncate -s 1T $copy.manifest.json", "could not be fetched"),
        ("rm $copy.manifest.json; ln -s / $copy.manifest.json", "could not be fetched"),
        ("truncate -s 2M $copy.manifest.json", "could not be fetched"),
        ("jq '.files[0].bytes = 99999999999999' $copy.manifest.json >m; cat m >$copy.manifest.json", "make room"),
        (
            "jq '(.files[] | select(.name | endswith(\".json.age\"))).bytes = 67108865' $copy.manifest.json >m;"
            " cat m >$copy.manifest.json",
            "is no manifest of ours",
        ),
    ],
    ids=lambda value: value if value.startswith(("t", "p", "e", "r", "c", "j", "l")) else "",
)
def test_copy_that_is_not_what_it_says_is_an_alarm_and_nothing_of_it_stays(
    both: Operator, done: str, said: str
) -> None:
    both.read("db1", "/usr/local/lib/medaction/backup-database.sh")
    encrypt(both)
    dump, before = newest(both), stored(both)
    both.read("db1", f"cd /run; copy={OUTBOX}/daily/{dump}; cp -a $copy.manifest.json kept; {done}")
    try:
        assert visit(both).returncode == 1
        assert said in vault(both, "--check")
        assert stored(both) == before
    finally:  # as if it had never been: its host makes another copy of the dump
        both.read("db1", f"rm -rf {OUTBOX}/daily/{dump}.* && sed -i '/{dump}/d' {OUTBOX}-work/published")
        encrypt(both)
    assert visit(both).returncode == 0
    assert f"./daily/{dump}.manifest.json.sig" in stored(both)
    # Its timer may be at work: what it has then goes.
    until(lambda: both.read("vault1", "ls /var/lib/medaction/vault/incoming") == "", "no part of it stays")


@pytest.mark.prove
@pytest.mark.fault
def test_file_that_claims_a_terabyte_takes_no_more_than_its_manifest_says(both: Operator) -> None:
    both.read("db1", "/usr/local/lib/medaction/backup-database.sh")
    encrypt(both)
    dump, before = newest(both), stored(both)
    size = int(both.read("db1", f"stat -c %s {OUTBOX}/daily/{dump}.age; truncate -s 1T {OUTBOX}/daily/{dump}.age"))

    def came() -> int:
        return int(both.read("vault1", "cat /sys/class/net/eth0/statistics/rx_bytes"))

    before_visit = came()
    try:
        assert visit(both).returncode == 1
        assert f"{dump}.age is longer there than its manifest says" in vault(both, "--check")
        assert stored(both) == before
        part = both.read("vault1", f"stat -c %s /var/lib/medaction/vault/incoming/db1.daily.{dump}.*/{dump}.age")
        assert int(part) <= size
        # With what was under way, and the manifests that are compared.
        assert came() - before_visit < size + (16 << 20)
    finally:
        both.read("db1", f"rm -rf {OUTBOX}/daily/{dump}.* && sed -i '/{dump}/d' {OUTBOX}-work/published")
        encrypt(both)
    assert visit(both).returncode == 0
    assert f"./daily/{dump}.manifest.json.sig" in stored(both)


@pytest.mark.prove
@pytest.mark.fault
@pytest.mark.parametrize("also_ours", [True, False])
def test_copy_for_a_stranger_is_proven_where_it_is_for_us_as_well_and_else_never(
    both: Operator, also_ours: bool
) -> None:
    both.read("db1", "/usr/local/lib/medaction/backup-database.sh")
    recipients = "/usr/local/lib/medaction/recipients"
    ours = both.read("db1", f"cat {recipients}")
    stranger = both.read("db1", "age-keygen 2>/dev/null | age-keygen -y")
    both.on("db1", f"cat >{recipients}", PrivateInput((ours if also_ours else "") + stranger))
    try:
        encrypt(both)
    finally:
        both.on("db1", f"cat >{recipients}", PrivateInput(ours))
    dump = newest(both)
    done = visit(both)
    signed = f"./daily/{dump}.manifest.json.sig" in stored(both)
    try:
        # docs/security.md: nobody can tell from outside who else opens it, and the host reads its database anyway.
        assert signed == also_ours == (done.returncode == 0)
        if not also_ours:
            assert f"{dump} is not proven (failed): {dump}.age cannot be opened" in vault(both, "--check")
    finally:
        both.read("vault1", f"rm -f {STORE}/daily/{dump}.*")
        both.read("db1", f"rm -f {OUTBOX}/daily/{dump}.* && sed -i '/{dump}/d' {OUTBOX}-work/published")
        encrypt(both)
    assert visit(both).returncode == 0


@pytest.mark.prove
@pytest.mark.fault
@pytest.mark.parametrize("done", ["truncate -s 2M", "chmod 0600", "sh -c 'rm $0; mkdir $0'"])
def test_manifest_that_cannot_be_read_again_hides_no_change_of_another(both: Operator, done: str) -> None:
    night(both)
    night(both)
    before = stored(both)
    first, last = sorted(both.read("db1", f"ls {OUTBOX}/daily/*.manifest.json").split())[-2:]
    both.read("db1", f'cp -a {first} {last} /run/ && sed -i \'s/"database": "/&x/\' {first} && {done} {last}')
    try:
        assert visit(both).returncode == 1
        said = vault(both, "--check")
        changed, odd = (path.split("/")[-1].removesuffix(".manifest.json") for path in (first, last))
        if "truncate" in done:  # which ends the client: what comes after it in the list is not compared
            assert "cannot be read there any more" in said and f"{odd} was changed there" in said, said
        else:
            assert f"any more, such as {odd}.manifest.json" in said and f"{changed} was changed there" in said, said
        assert stored(both) == before
    finally:
        both.read("db1", f"cd /run && rm -rf {last} && mv *.manifest.json {OUTBOX}/daily/")
    assert visit(both).returncode == 0


@pytest.mark.prove
@pytest.mark.fault
def test_links_that_a_captured_client_leaves_lead_nowhere(both: Operator) -> None:
    both.read("db1", "/usr/local/lib/medaction/backup-database.sh")
    encrypt(both)
    dump, incoming = newest(both), "/var/lib/medaction/vault/incoming"
    both.read("db1", f"mv {OUTBOX}/daily/{dump}.json.age /run/")
    assert visit(both).returncode == 1
    part = both.read("vault1", f"ls -d {incoming}/db1.daily.{dump}.*").strip()
    victim = "/var/lib/medaction/vault/victim"
    both.read("vault1", f"rm -rf {part}; mkdir -m 0755 {victim}; echo kept >{victim}/{dump}.age; ln -s {victim} {part}")
    both.read("db1", f"mv /run/{dump}.json.age {OUTBOX}/daily/")
    assert visit(both).returncode == 0
    assert both.read("vault1", f"stat -c %a {victim}; cat {victim}/*; rm -r {victim}").split() == ["755", "kept"]
    assert f"./daily/{dump}.manifest.json.sig" in stored(both)


@pytest.mark.prove
@pytest.mark.fault
def test_part_of_a_copy_that_goes_at_its_source_goes_too(both: Operator) -> None:
    both.read("db1", "/usr/local/lib/medaction/backup-database.sh")
    encrypt(both)
    dump, incoming = newest(both), "/var/lib/medaction/vault/incoming"
    both.read("db1", f"mv {OUTBOX}/daily/{dump}.json.age /run/")  # of its files the last: the others are fetched
    assert visit(both).returncode == 1
    assert f"/{dump}.age" in both.read("vault1", f"ls -d {incoming}/*/*")
    both.read("db1", f"rm {OUTBOX}/daily/{dump}.*; sed -i '/{dump}/d' {OUTBOX}-work/published")
    visit(both)
    until(lambda: both.read("vault1", f"ls {incoming}") == "", "no part of it stays")
    encrypt(both)
    assert visit(both).returncode == 0


LIES: tuple[object, ...] = (
    {"dump": "../../../etc/cron.d/x"}, {"dump": 1}, {"tier": "weekly"}, {"tier": "../daily"}, {"source": "db2"},
    {"version": 2}, {"database": "a\x1b[2J"}, {"database": None}, {"server_version": "17; id"}, {"files": []},
    {"files": "none"}, {"bytes": -1}, {"bytes": 1.5}, {"bytes": "1"}, {"bytes": 1e300}, {"bytes": 0},
    {"name": "../x.age"}, {"name": "/etc/passwd"}, {"name": "-oProxyCommand=id"}, {"name": "a\nget /x /y"},
    {"plain_name": "../../x"}, {"sha256": "0"}, {"plain_sha256": "z" * 64},
)  # fmt: skip


@pytest.mark.prove
@pytest.mark.fault
def test_manifests_that_lie_take_nothing_and_leave_nothing(both: Operator) -> None:
    night(both)
    before, good = stored(both), newest(both)
    told = json.loads(both.read("db1", f"cat {OUTBOX}/daily/{good}.manifest.json"))
    texts = [b"", b"[]", b"null", b"{", b"\xff\xfe", b"{}", b"[" * 5000, b'{"version": 1}']
    for lie in LIES:
        assert isinstance(lie, dict)
        changed = json.loads(json.dumps(told).replace(good, GOOD_NAME))
        at = changed["files"][0] if lie.keys() & changed["files"][0].keys() else changed
        at.update(lie)
        texts.append(json.dumps(changed).encode())
    names = [f"medaction_2026-01-01_{number // 60:02}-{number % 60:02}-00.sql.gz" for number in range(len(texts))]
    script = "".join(
        f"base64 -d >{OUTBOX}/daily/{name}.manifest.json <<'END'\n"
        f"{base64.b64encode(text.replace(GOOD_NAME.encode(), name.encode())).decode()}\nEND\n"
        for name, text in zip(names, texts, strict=True)
    )
    made = both.on("db1", "sh", PrivateInput(script))
    assert made.returncode == 0, made.stderr
    assert visit(both).returncode == 1
    assert stored(both) == before
    alarms = both.read("vault1", "cat /var/lib/medaction/vault/state/alarms")
    assert [name for name in names if name not in alarms] == []
    both.read("db1", f"rm -f {OUTBOX}/daily/medaction_2026-01-01_*")
    assert visit(both).returncode == 0


GOOD_NAME = "medaction_GOOD.sql.gz"


@pytest.mark.prove
@pytest.mark.fault
def test_hundred_thousand_names_hold_nobody_up(both: Operator) -> None:
    night(both)
    before = stored(both)
    many = 'for (i = 0; i < 100000; i++) printf "medaction_20%02d-%02d-%02d_%02d-%02d-%02d.sql.gz.manifest.json\\n",'
    many += " 10 + i % 10, 1 + int(i / 10) % 12, 1 + int(i / 120) % 28, int(i / 3360) % 24, int(i / 80640) % 60, 0"
    both.read("db1", f"cd {OUTBOX}/daily && awk 'BEGIN {{ {many} }}' | xargs touch")
    try:
        began = time.monotonic()
        # Of an empty manifest each, five hundred are looked at.
        said = both.on("vault1", f"{UNTIL_FREE}; until_free /usr/local/lib/medaction/vault.sh", timeout=900)
        assert said.returncode == 1 and time.monotonic() - began < 900
        assert stored(both) == before
    finally:
        both.read("db1", f"cd {OUTBOX}/daily && find . -name 'medaction_201*' -delete")
    assert visit(both).returncode == 0


@pytest.mark.prove
@pytest.mark.fault
def test_vault_without_room_says_so_and_goes_on_when_there_is_some(both: Operator) -> None:
    settings = "/usr/local/lib/medaction/vault-settings.sh"
    both.read("db1", "/usr/local/lib/medaction/backup-database.sh")
    encrypt(both)
    dump, before = newest(both), stored(both)
    both.read(
        "vault1", f"cp -p {settings} /run/kept && sed -i 's/vault_reserve_mb=.*/vault_reserve_mb=99999999/' {settings}"
    )
    try:
        assert visit(both).returncode == 1 and "make room" in vault(both, "--check") and stored(both) == before
    finally:
        both.read("vault1", f"cp -p /run/kept {settings}")
    # The disk itself is full: what does not fit is no file.
    incoming = "/var/lib/medaction/vault/incoming"
    both.read("vault1", f"mount -t tmpfs -o size=256k,mode=0700,uid=medaction-vault tmpfs {incoming}")
    try:
        assert visit(both).returncode == 1 and stored(both) == before
    finally:
        both.read("vault1", f"umount {incoming}")
    assert visit(both).returncode == 0
    assert f"./daily/{dump}.manifest.json.sig" in stored(both)


@pytest.mark.prove
@pytest.mark.fault
def test_vault_without_its_keys_proves_nothing_and_goes_on_with_them(both: Operator) -> None:
    both.read("db1", "/usr/local/lib/medaction/backup-database.sh")
    encrypt(both)
    dump = newest(both)
    for key in ("age", "sign"):
        both.read("vault1", f"mv /etc/medaction-vault/{key} /run/")
        try:
            assert visit(both).returncode == 1
            assert f"./daily/{dump}.manifest.json.sig" not in stored(both)
        finally:
            both.read("vault1", f"mv /run/{key} /etc/medaction-vault/")
    both.read("db1", "gpasswd --delete medaction-at-vault1 medaction-offsite")
    try:
        assert visit(both).returncode == 1 and "it was not reached" in vault(both, "--check")
    finally:
        both.read("db1", "usermod --append --groups medaction-offsite medaction-at-vault1")
    assert visit(both).returncode == 0
    assert f"./daily/{dump}.manifest.json.sig" in stored(both)


@pytest.mark.prove
def test_copy_that_lacks_what_was_there_is_noticed_though_its_source_says_nothing(both: Operator) -> None:
    both.postgres(
        "CREATE TABLE IF NOT EXISTS kept AS SELECT generate_series(1, 500) AS n; ALTER TABLE kept OWNER TO medaction"
    )
    night(both)
    whole = newest(both)
    both.postgres("DELETE FROM kept WHERE n > 100")
    # The source's own comparison is put to silence, as whoever captures it would.
    both.read("db1", "sed -i 's/few_rows=100/few_rows=1000000/' /usr/local/lib/medaction/lib/loss-rules.sh")
    night(both)
    emptied = newest(both)
    offers = {each["dump"]: each for each in map(json.loads, vault(both, "--offer db1").splitlines())}
    assert offers[emptied]["signed"] and "kept has 100 rows, it had 500" in offers[emptied]["suspect"]
    assert emptied != whole and offers[whole]["suspect"] == ""
    checked = both.on("vault1", "/usr/local/lib/medaction/vault.sh --check")
    assert f"vault.sh --accept db1 daily/{emptied}" in checked.stdout and checked.returncode >= 1
    done = both.run("make", "-s", "recover", "HOST=db1")
    assert f"{whole}, proven" in done.stdout and f"not taken: {emptied}: it lacks" in done.stdout, done.stdout
    vault(both, f"--accept db1 daily/{emptied}")
    assert f"{emptied}, proven" in both.run("make", "-s", "recover", "HOST=db1").stdout
    both.deploy("db1")


@pytest.mark.prove
def test_copy_stays_until_each_of_two_vaults_has_read_it(both: Operator, project_copy: Operator) -> None:
    fleet = project_copy.checkout / "inventories/sandbox.py"
    fleet.write_text(fleet.read_text().replace("vault = [", "vault = [app[1], "))
    project_copy.deploy("db1,vault1,app2")
    night(project_copy)  # vault1 has read it, app2 has not
    waiting = newest(project_copy)
    project_copy.read("db1", "/usr/local/lib/medaction/backup-database.sh")
    settings = "/usr/local/lib/medaction/outbox-settings.sh"
    project_copy.read("db1", f"sed -i 's/^readonly outbox_days=.*/readonly outbox_days=0/' {settings}")
    encrypt(project_copy)
    offered = f"ls {OUTBOX}/daily"
    assert f"{waiting}.manifest.json" in project_copy.read("db1", offered).split()

    project_copy.read("app2", f"{UNTIL_FREE}; until_free /usr/local/lib/medaction/vault.sh")
    signed = f"test -e {STORE}/daily/{newest(project_copy)}.manifest.json.sig"
    assert project_copy.on("app2", signed).returncode == 0
    opened = f"age --decrypt --identity /etc/medaction-vault/age {STORE}/daily/{waiting}.age | sha256sum"
    assert project_copy.read("app2", opened) == project_copy.read("vault1", opened)
    until(lambda: encrypt(project_copy) or waiting not in project_copy.read("db1", offered), "it goes")
    # Neither has a right at the other's account.
    reads = (
        "sftp -b - -i /etc/medaction-vault/ssh -o StrictHostKeyChecking=no medaction-at-vault1@10.213.86.31 </dev/null"
    )
    assert project_copy.on("app2", reads).returncode != 0

    words = ("--env", "sandbox", "--host", "db1", "--vault", "app2")
    assert "proven, from app2" in project_copy.python("-m", "provision", "recover", *words).stdout
    both.bare("app2")
    both.deploy(HOSTS)


@pytest.mark.prove
def test_dump_with_a_manifest_of_its_own_hand_reaches_no_terminal_and_no_file_of_the_vault(both: Operator) -> None:
    night(both)
    dump, work = newest(both), "/run/forged"
    # Encrypted as the host does it, all sums right: within a dump whoever has captured its host writes what it likes.
    both.on("db1", f"sh -eu -c {shlex.quote(FORGED)}", PrivateInput(f"{dump}\n"))
    before = {path: digest for path, digest in stored(both).items()}
    victims = "/var/lib/medaction/vault/state/victim"
    both.read("vault1", f"echo kept >{victims}")
    try:
        assert visit(both).returncode == 1
        said = both.on("vault1", "/usr/local/lib/medaction/vault.sh --check").stdout
        listed = vault(both, "--list db1")
        assert not set(said + listed) & set("\x1b\x07\x9b\u202e"), said
        assert "medaction-evil" in said
        assert both.read("vault1", f"cat {victims}; stat -c %U:%a {victims}").split() == ["kept", "root:644"]
        assert both.read("vault1", "find /var/lib/medaction/vault/proof -mindepth 1") == ""
        assert before.items() <= stored(both).items()
    finally:
        both.read("vault1", f"rm -f {STORE}/daily/medaction-evil* {victims}")
        both.read("db1", f"rm -rf {OUTBOX}/daily/medaction-evil* {work}")
    assert visit(both).returncode == 0


# Two dumps, each the newest of a database of its own: a directory's archive with a pipe, links out of it, a hole of a
# terabyte and a file that root alone should own; and one of plain text whose own manifest speaks to terminals.
FORGED = """
read -r model; rm -rf /run/forged; mkdir -m 0700 /run/forged; cd /run/forged
seal() { age -R /usr/local/lib/medaction/recipients <"$1" >"$1.age"; }
tell() { # DUMP FILE...
    dump=$1; shift
    for file; do
        seal "$file"
        jq -n --arg plain_name "$file" --arg sha256 "$(sha256sum <"$file.age" | cut -c 1-64)" \\
            --arg plain_sha256 "$(sha256sum <"$file" | cut -c 1-64)" --argjson bytes "$(stat -c %s "$file.age")" \\
            '$ARGS.named | .name = .plain_name + ".age"'
    done | jq -s --arg dump "$dump" --slurpfile model "/var/lib/medaction/offsite/daily/$model.manifest.json" \\
        '. as $files | $model[0] | .dump = $dump | .files = $files
            | .database = ($dump | ltrimstr("medaction-") | sub("_.*"; ""))' >"$dump.manifest.json"
}
one=medaction-evildir_2026-01-01_00-00-00.dir two=medaction-evil_2026-01-01_00-00-01.sql.gz
mkdir $one; mkfifo $one/pipe; ln -s ../../state/victim $one/link; ln -s /var/lib/medaction/vault/state $one/way
truncate -s 1T $one/hole; echo x >$one/root; chmod 6777 $one/root
tar --create --sparse --file $one.tar $one
tar --append --file $one.tar --transform "s,^root\\$,$one/way/victim," --directory $one root
tar --append --file $one.tar --transform 's,^root$,../../state/victim,' -P --directory $one root
jq -n '{database: "evildir", content: {tables: {}, objects: {}},
    suspect: "\\u001b]0;owned\\u0007 \\u009b2J \\u202e txt.exe"}' >$one.json
tell $one $one.tar $one.json
cp "/opt/medaction/backups/$model" $two
jq '.database = "evil" | .suspect = "\\u001b]0;owned\\u0007 \\u009b2J \\u202e txt.exe"' \\
    "/opt/medaction/backups/$model.json" >$two.json
tell $two $two $two.json
chgrp medaction-offsite medaction-evil*.age *.manifest.json; chmod 0640 medaction-evil*.age *.manifest.json
mv medaction-evil*.age *.manifest.json /var/lib/medaction/offsite/daily/
"""


@pytest.mark.prove
def test_sizes_that_are_written_as_fractions_are_the_same_sizes(both: Operator) -> None:
    both.read("db1", "/usr/local/lib/medaction/backup-database.sh")
    encrypt(both)
    manifest = f"{OUTBOX}/daily/{newest(both)}.manifest.json"
    both.read("db1", f"sed -Ei 's/(\"bytes\": [0-9]+)/\\1.0/' {manifest} && grep -q '[0-9][.]0,' {manifest}")
    assert visit(both).returncode == 0
    assert f"./daily/{newest(both)}.manifest.json.sig" in stored(both)


# An SFTP server whose directories have no end (draft-ietf-secsh-filexfer-02; 104 are names, 105 attributes).
ENDLESS = r"""#!/usr/bin/perl
sub take { my $b = ''; while (length $b < $_[0]) { sysread(STDIN, $b, $_[0] - length $b, length $b) or exit } $b }
sub give { syswrite(STDOUT, pack 'N/a*', $_[0]) }
while (1) {
    my ($kind, $id) = unpack 'CN', take(unpack 'N', take(4));
    if ($kind == 1) { give(pack 'CN', 2, 3) }
    elsif ($kind == 16) { give(pack 'CNNN/a*N/a*N', 104, $id, 1, '/', '/', 0) }
    elsif ($kind == 17 || $kind == 7) { give(pack 'CNNN', 105, $id, 4, 040755) }
    elsif ($kind == 11) { give(pack 'CNN/a*', 102, $id, 'h') }
    else { give(pack('CNN', 104, $id, 200) . join '', map { pack 'N/a*N/a*N', 'x' . $n++, '', 0 } 1 .. 200) }
}
"""


@pytest.mark.prove
@pytest.mark.fault
def test_listing_without_end_is_ended_in_little_memory(both: Operator) -> None:
    before, settings = stored(both), "/etc/ssh/sshd_config.d/medaction-offsite.conf"
    account, server = "medaction-at-vault1", "/usr/local/sbin/endless"
    both.read("db1", f"cat >{server} && chmod 0755 {server} && cp -p {settings} /run/kept", PrivateInput(ENDLESS))
    both.read(
        "db1",
        f"sed -i '/ChrootDirectory/d; s,ForceCommand.*,ForceCommand {server},' {settings} &&"
        f" usermod --shell /bin/sh {account} && systemctl reload ssh",
    )
    try:
        peaks = memory.largest(PREFIX + "vault1", lambda: visit(both))
        assert "db1: it was not reached" in vault(both, "--check")
        assert 0 < peaks["sftp"] < 150e6, peaks
        assert stored(both) == before
    finally:
        both.read(
            "db1", f"cp -p /run/kept {settings}; usermod --shell /usr/sbin/nologin {account}; systemctl reload ssh"
        )
        both.read("db1", f"rm {server}")
    assert visit(both).returncode == 0
