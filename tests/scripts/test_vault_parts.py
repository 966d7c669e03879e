"""The parts of a vault's program that judge what a backup host has sent, each by itself: no server, no network."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import subprocess
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from provision.settings.render import FILES
from tests.sandbox import packages

# As the program has them, without its settings. A signature here is the text "good".
PARTS = f"""
umask 077; cd "$1"; shift; shopt -u failglob
app_name=medaction store=$PWD/store state=$PWD/state work=$PWD/work incoming=$PWD/incoming source_name=db1
vault_proof_dir=$PWD/proof backup_user=$(id -un) vault_dir=$PWD vault_config_dir=$PWD
backup_size_change_percent=20 backup_volatile_tables=() vault_reserve_mb=1 vault_maximum_age_hours=30
vault_prove=each subject=vault step=test alarms=0 identity=none
mkdir -p store/db1/daily store/db1/weekly state work incoming proof
log() {{ printf '%s %s\\n' "$1" "$2"; }}
info() {{ log INFO "$1"; }}; warn() {{ log WARN "$1"; }}; alarm() {{ log ALARM "$1"; }}
eval "$(sed -n '/^without_rows()/,/^}}/p; /^plain_text()/,/^}}/p; /^digits()/,/^}}/p; /^human_size()/,/^}}/p' \
    {FILES}/backup/lib/base.sh)"
. {FILES}/backup/lib/json.sh
eval "$(sed -n '/^readonly stamp_/p; /^stamp_of()/,/^}}/p; /^spelt_for_files()/,/^}}/p; /^free_bytes()/,/^}}/p' \
    {FILES}/backup/lib/store.sh)"
. {FILES}/backup/lib/loss-rules.sh
. {FILES}/vault/lib/fetch.sh; . {FILES}/vault/lib/prove.sh; . {FILES}/vault/lib/keep.sh; . {FILES}/vault/lib/tell.sh
is_signed() {{ [[ $(cat "$1.sig" 2>/dev/null) == good ]]; }}
"""
Vault = Callable[..., str]


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    """Runs a line of the program's own functions in a vault's directory; returns what it prints, and its exit code."""

    def run(program: str, *arguments: object) -> str:
        done = subprocess.run(
            ["bash", "-c", f"set -uo pipefail; {PARTS}\n{program}; echo \"exit $?\"", "-", tmp_path, *arguments],
            capture_output=True, text=True, timeout=30, env={**os.environ, "LC_ALL": "C.UTF-8"}, check=False,
        )  # fmt: skip
        return done.stdout + done.stderr

    run("true")
    return run


def manifest(dump: str, database: str = "medaction", sums: str = "a", **other: object) -> str:
    files = [
        {"name": f"{dump}{end}.age", "plain_name": f"{dump}{end}", "bytes": 9, "sha256": "0" * 64,
         "plain_sha256": (sums if not end else "f") * 64}
        for end in ("", ".json")
    ]  # fmt: skip
    told = {"version": 1, "source": "db1", "app": "medaction", "dump": dump, "tier": "daily", "database": database}
    return json.dumps({**told, "server_version": "17.1", "database_bytes": 5, "files": files, **other})


def put(root: Path, day: int, sums: str, signed: bool = True, **other: object) -> Path:
    dump = f"medaction_2026-06-{day:02}_02-00-00.sql.gz"
    path = root / f"store/db1/daily/{dump}.manifest.json"
    path.write_text(manifest(dump, sums=sums, **other))  # type: ignore[arg-type]  # those of manifest's own
    if signed:
        path.with_name(f"{path.name}.sig").write_text("good")
    return path


def test_manifest_of_another_app_is_none_of_ours(vault: Vault, tmp_path: Path) -> None:
    dump = "medaction_2026-06-01_02-00-00.sql.gz"
    for app, code in (("medaction", 0), ("other", 1), ("medaction\0", 1), (None, 1)):
        (tmp_path / "one").write_text(manifest(dump, app=app))
        assert vault('is_a_manifest one daily "$1"', dump).endswith(f"exit {code}\n"), app


def test_sum_with_a_line_more_is_no_sum(vault: Vault, tmp_path: Path) -> None:
    """Its line would be read as a file of its own."""
    dump = "medaction_2026-06-01_02-00-00.sql.gz"
    told = json.loads(manifest(dump))
    for name in ("sha256", "plain_sha256"):
        for end in ("\n", f"\n../x 7 {'0' * 64}", " ", "0"):
            files = [told["files"][0] | {name: "0" * 64 + end}, told["files"][1]]
            (tmp_path / "one").write_text(json.dumps(told | {"files": files}))
            assert vault('is_a_manifest one daily "$1"', dump).endswith("exit 1\n"), (name, end)
    (tmp_path / "one").write_text(json.dumps(told))
    assert vault('is_a_manifest one daily "$1"', dump).endswith("exit 0\n")


NAMED = [
    ("medaction", "medaction", True),
    ("medaction", "whatever the app's own is called", True),
    ("medaction-crm", "crm", True),
    ("medaction-CRM", "crm", False),
    ("medaction-crm", "medaction", False),
    ("medaction-%63rm", "crm", True),
    ("medaction-a%5fb%20%c3%a9", "a_b é", True),
    ("medaction-e%cc%81", "é", False),  # the same to the eye: e and an accent
    ("medaction-a%0ab", "a b", True),  # a line's end, as manifests have it
    ("medaction-%e9", "\ufffd", True),  # no UTF-8, as jq has it
    ("medaction--rf", "-rf", True),
    ("medaction-%24%28id%29", "$(id)", True),
    ("medaction-a", "a\n", False),
]


def test_copy_is_named_after_the_database_that_its_manifest_tells(vault: Vault, tmp_path: Path) -> None:
    dumps = [f"{part}_2026-06-01_02-00-00.sql.gz" for part, _, _ in NAMED]
    for number, (_, database, _) in enumerate(NAMED):
        (tmp_path / str(number)).write_text(manifest(dumps[number], database))
    said = vault('n=0; for dump; do is_of_its_database "$n" "$dump"; echo "$?"; n=$((n + 1)); done', *dumps)
    assert said.split()[: len(NAMED)] == ["0" if fits else "1" for _, _, fits in NAMED]


@pytest.mark.parametrize(
    ("nights", "said"),
    [
        ("ab", ""),
        ("aa", ""),  # nothing happened in this database
        ("abb", ""),
        ("aba", "it is what medaction_2026-06-01_02-00-00.sql.gz was, though another has come since"),
        ("abbca", "it is what medaction_2026-06-01_02-00-00.sql.gz was, though another has come since"),
        ("aBa", ""),  # what lay between was never proven
    ],
)
def test_old_dump_under_a_new_name_lacks_what_came_since(vault: Vault, tmp_path: Path, nights: str, said: str) -> None:
    for day, sums in enumerate(nights, start=1):
        last = put(tmp_path, day, sums.lower(), signed=sums.islower() and day < len(nights))
    (tmp_path / "store/db1/daily/medaction_2026-06-01_02-00-01.sql.gz.manifest.json").write_text("x")  # damaged
    before = last.parent / "medaction_2026-06-01_02-00-00.sql.gz.manifest.json"
    assert vault('look_for_another_time "$1" "$2"; printf "%s;" "$doubt"', last, before) == f"{said};exit 0\n"


def test_copy_of_another_database_under_the_apps_own_name_is_doubted(vault: Vault, tmp_path: Path) -> None:
    before, last = put(tmp_path, 1, "a"), put(tmp_path, 2, "b", signed=False, database="crm")
    said = vault('look_for_another_time "$1" "$2"; printf "%s;" "$doubt"', last, before)
    assert said == "the one before it was of the database medaction;exit 0\n"
    (tmp_path / "own").write_text('{"database": "hr"}')
    said = vault('is_what_it_says "$1" own; echo "$said_of_proof"', last)
    assert said == "its own manifest says that it is of the database hr\nexit 0\n"


def test_archive_that_holds_more_than_files_is_not_unpacked(vault: Vault, tmp_path: Path) -> None:
    work, dump = tmp_path / "work", "medaction_2026-06-01_02-00-00.dir"
    (work / dump).mkdir()
    (work / dump / "toc.dat").write_text("x")
    makes = {"link": "ln -s /etc/passwd", "other": "ln toc.dat", "pipe": "mkfifo"}
    for name, make in makes.items():
        subprocess.run(f"{make} {name} && tar -cf ../{dump}.tar -C .. {dump}", shell=True, cwd=work / dump, check=True)
        said = vault('hand_over "" "$1"; echo "$said_of_proof"', dump)
        assert said.startswith(f"{dump}.tar holds what is neither file nor directory"), said
        assert not any((tmp_path / "proof").iterdir())
        (work / dump / name).unlink()
    subprocess.run(["tar", "-cf", f"{dump}.tar", dump], cwd=work, check=True)
    assert vault('hand_over "" "$1"', dump) == "exit 0\n"
    assert (tmp_path / "proof" / dump / "toc.dat").read_text() == "x"


@pytest.mark.parametrize("text", ["", "x", '{"files": 1}'])
def test_manifest_that_the_disk_has_damaged_hides_none_of_the_others(vault: Vault, tmp_path: Path, text: str) -> None:
    put(tmp_path, 1, "a")
    put(tmp_path, 2, "b").write_text(text)
    (tmp_path / "store/db1/daily/medaction_2026-06-02_02-00-00.sql.gz.manifest.json.sig").write_text("of another text")
    offers = [json.loads(line) for line in vault("wanted_host=db1; offer").splitlines()[:-1]]
    assert [(each["dump"][:20], each["signed"], each["proof"]) for each in offers] == [
        ("medaction_2026-06-02", False, "its signature does not fit it"), ("medaction_2026-06-01", True, "")
    ]  # fmt: skip
    listed = vault("vault_sources=('db1 x 22 y') wanted_host=''; list_stored")
    assert listed.count("\n") == 4 and "damaged" in listed and "signed" in listed and "error" not in listed, listed


def test_proving_has_an_end_however_many_databases_are_offered(vault: Vault, tmp_path: Path) -> None:
    for name in "abc":
        dump = f"medaction-{name}_2026-06-01_02-00-00.sql.gz"
        (tmp_path / f"store/db1/daily/{dump}.manifest.json").write_text(manifest(dump, name))
    said = vault(
        "age-keygen() { :; }; needs_a_proof() { :; };"
        ' prove() { echo "proves ${1##*/}"; SECONDS=$((SECONDS + 11000)); }; prove_newest db1'
    )
    assert said.count("proves medaction-") == 1 and "the next run proves the rest" in said, said


def test_what_the_other_side_says_is_told_in_a_line_of_bounded_length(vault: Vault, tmp_path: Path) -> None:
    errors = tmp_path / "work/sftp.err"
    errors.write_text("welcome to this host\r\n" * 3 + "Host key verification failed.\r\nConnection closed.\r\n")
    assert vault("why_it_ended").startswith("Host key verification failed.\nConnection closed.")
    errors.write_text("x" * 3_000_000)
    said = vault('as_fetcher_with_errors() { cat work/sftp.long >&2; }; mv work/sftp.err work/sftp.long;'
                 " as_fetcher 0 9; stat -c %s work/sftp.err; why_it_ended | wc -c")  # fmt: skip
    assert said.split()[:2] == [str(1 << 20), "400"], said
    errors.write_text("")
    assert "it took too long, or the connection was cut" in vault("why_it_ended")


def test_what_is_no_file_among_the_dumps_is_not_encrypted(vault: Vault, tmp_path: Path) -> None:
    names = [f"medaction_2026-06-{day:02}_02-00-00.sql.gz" for day in range(1, 6)]
    for name in names:
        (tmp_path / f"{name}.json").write_text("{}")
    (tmp_path / names[0]).write_text("x")
    os.mkfifo(tmp_path / names[1])  # which would be waited for
    (tmp_path / names[2]).symlink_to("/etc/passwd")
    (tmp_path / names[3]).symlink_to(names[1])
    said = vault(
        f"eval \"$(sed -n '/^local_dumps()/,/^}}/p' {FILES}/vault/offsite.sh)\";"
        ' as_owner() { "$@"; }; tier_dir() { echo "$PWD/${1#daily}"; }; mkdir weekly; local_dumps'
    )
    assert said.splitlines()[:-1] == [f"daily {names[0]}"], said


@pytest.mark.parametrize(("free", "said"), [(0, "0.0B"), (512, "512.0B"), (5 << 20, "5.0MiB")])
def test_room_that_is_left_is_told_without_df_s_padding(vault: Vault, free: int, said: str) -> None:
    table = f"Avail\n{free:5}\n"  # as df prints it: as wide as its heading, to the right
    told = vault(
        f'eval "$(sed -n \'/^free_bytes()/,/^}}/p\' {FILES}/backup/lib/store.sh)"; df() {{ printf %s "$table"; }};'
        ' table=$1; echo "has $(human_size "$(free_bytes .)") free"',
        table,
    )
    assert told == f"has {said} free\nexit 0\n"


HOSTS = ["db1", "db1.example.com", "h" * 63, f"{'a' * 63}.{'b' * 63}.{'c' * 63}.{'d' * 48}", "h" * 63 + "2"]
DUMPS = [
    f"{database}_2026-06-{day:02}_02-00-00.sql.zst"
    for database in ("medaction", "medaction-" + "%e6%97%a5" * 21, "fourteen-bytes-" + "%27" * 63)
    for day in (1, 2)
]


def test_parts_of_a_copy_have_a_place_of_their_own_whatever_the_names(vault: Vault, tmp_path: Path) -> None:
    said = vault(
        'for source_name in $HOSTS; do for dump; do part_of daily "$dump"; echo; done; done'.replace(
            "$HOSTS", " ".join(HOSTS)
        ),
        *DUMPS,
    )
    parts = said.splitlines()[:-1]
    assert len(set(parts)) == len(HOSTS) * len(DUMPS) and max(map(len, parts)) + len(".0123456789abcdef") <= 255
    assert parts[0] == f"db1.daily.{DUMPS[0]}"  # as they were: a fetch goes on after an upgrade
    for part in parts:
        (tmp_path / f"incoming/{part}.0123456789abcdef").mkdir()
    # Of one host the second night of each database is offered no more.
    offered = [f"daily/{dump}.manifest.json" for dump in DUMPS[::2]]
    for number, host in enumerate(HOSTS):
        (tmp_path / "work/offered").write_text("\n".join(offered) + "\n")
        vault("source_name=$1; remove_parts_of_nothing", host)
        left = {path.name.removesuffix(".0123456789abcdef") for path in (tmp_path / "incoming").iterdir()}
        gone = {parts[each * len(DUMPS) + odd] for each in range(number + 1) for odd in (1, 3, 5)}
        assert left == set(parts) - gone, host


# What OpenSSH's client does with a batch, a line at a time, without another side: ending itself as its limit would.
SFTP = """#!/bin/bash
while IFS= read -r line; do
    if [[ $line == '!'* ]]; then $SHELL -c "${line#!}"; continue; fi
    eval "set -- $line"
    head -c "$(cat "${2##*/}.there")" /dev/zero >"$3" 2>/dev/null
    (( $? != 128 + $(kill -l XFSZ) )) || kill -XFSZ $$
done
"""


@pytest.mark.parametrize(
    ("there", "said"),
    [((5000, 9), "x.age is longer there than its manifest says"), ((9, 5000), "y.age is longer"), ((9, 9), "")],
)
def test_file_that_is_longer_than_its_manifest_says_is_told_by_its_name(
    vault: Vault, tmp_path: Path, there: tuple[int, int], said: str
) -> None:
    (tmp_path / "fakes").mkdir()
    (tmp_path / "fakes/sftp").write_text(SFTP)
    (tmp_path / "fakes/sftp").chmod(0o755)
    (tmp_path / "incoming/part").mkdir()
    for name, size in zip(("x.age", "y.age"), there, strict=True):
        (tmp_path / f"incoming/{name}.there").write_text(str(size))
    told = vault(
        f'here={FILES}/vault PATH=$PWD/fakes:$PATH; as_fetcher_with_errors() {{ cd incoming; bash "${{@:3}}"; }};'
        ' vault_bandwidth_kbit=0 ssh_key=k; info() { :; }; printf "%s 9 sum\n" x.age y.age >work/wanted;'
        ' work=$PWD/work; fetch_files daily part host 22 account || not_fetched "$(first_unfinished part)"'
    )
    if said:
        assert f"ALARM {said}" in told and "manifest says: the next run goes on\n" in told, told
        assert "size limit" not in told, told
    else:
        assert "ALARM" not in told and (tmp_path / "incoming/part/y.age").stat().st_size == 9, told


@pytest.mark.parametrize("odd", ["short", "other", "gone", "directory", "added"])
def test_copy_counts_where_every_file_of_it_and_nothing_else_is_as_its_manifest_says(
    vault: Vault, tmp_path: Path, odd: str
) -> None:
    files, store = tmp_path / "work/files", tmp_path / "store/db1/daily"
    files.mkdir()
    name = "medaction_2026-06-01_02-00-00.sql.gz"
    wanted = {f"{name}.age": b"rows", f"{name}.json.age": b"told"}
    for each, held in wanted.items():
        (files / each).write_bytes(held)
    (tmp_path / "work/wanted").write_text(
        "".join(f"{each} {len(held)} {sha256(held).hexdigest()}\n" for each, held in wanted.items())
    )
    last = files / f"{name}.json.age"
    match odd:
        case "short":  # what its manifest says of its length is a lie, of its sum the truth
            (tmp_path / "work/wanted").write_text((tmp_path / "work/wanted").read_text().replace(" 4 ", " 5 "))
            last = files / f"{name}.age"
        case "other":
            last.write_bytes(b"tolD")
        case "gone":
            last.unlink()
        case "directory":
            last.unlink()
            last.mkdir()
        case "added":  # as by a client that has been taken over
            (files / "medaction_2026-06-02_02-00-00.sql.gz.manifest.json").write_text("{}")
    (tmp_path / "manifest").write_text("{}")
    said = vault(
        "if every_file_is_as_told; then put_away daily $1.manifest.json manifest; else cat work/differs; false; fi",
        name,
    )
    if odd == "added":
        assert {path.name for path in store.iterdir()} == {*wanted, f"{name}.manifest.json"}, said
        assert not files.exists()
    else:
        assert said.startswith(f"{last.name}: FAILED") and said.endswith("exit 1\n"), said
        assert list(store.iterdir()) == []


@pytest.mark.parametrize("odd", ["pipe", "link to a pipe", "directory", "device"])
def test_what_took_a_dumps_place_at_the_last_moment_is_neither_waited_for_nor_read(
    vault: Vault, tmp_path: Path, odd: str
) -> None:
    place = tmp_path / "dump"
    match odd:
        case "pipe":
            os.mkfifo(place)
        case "link to a pipe":
            os.mkfifo(tmp_path / "pipe")
            place.symlink_to("pipe")
        case "directory":
            place.mkdir()
        case "device":
            place.symlink_to("/dev/zero")
    parts = "/^readonly twice_program/,/}'$/p; /^plain_stream()/,/^}/p"
    program = f"""eval "$(sed -n "{parts}" {FILES}/vault/offsite.sh)"
        as_owner() {{ timeout 10 "$@"; }}; plain_stream"""
    said = vault(f'{program} "$1" 3>also >out', place)
    assert f"{place} is no file" in said and not said.startswith(("exit 0", "exit 124")), said
    (tmp_path / "file").write_bytes(b"rows" * 30000)
    assert vault(f'{program} "$1" 3>also >out', tmp_path / "file") == "exit 0\n"
    assert (tmp_path / "also").read_bytes() == (tmp_path / "out").read_bytes() == b"rows" * 30000


def test_file_whose_reading_was_cut_off_does_not_count_as_read(vault: Vault, tmp_path: Path) -> None:
    """OpenSSH's server says `forced close` where the session ended before the file was closed: what it had read from
    the disk by then may have got lost on the way."""
    (tmp_path / "journal").write_text(
        '1782000000.1 db1 internal-sftp[7]: close "/daily/whole.age" bytes read 9 written 0\n'
        '1782000001.1 db1 internal-sftp[7]: forced close "/daily/cut.age" bytes read 9 written 0\n'
        '1782000002.1 db1 internal-sftp[7]: open "/daily/other.age" flags READ mode 0666\n'
    )
    said = vault(
        f"eval \"$(sed -n '/^note_readings()/,/^}}/p' {FILES}/vault/offsite.sh)\"; journalctl() {{ cat journal; }};"
        " vault_accounts=(root) outbox_work=$PWD/work; note_readings; cat work/.run.root"
    )
    assert said == "1782000000 daily/whole.age 9\nexit 0\n"


NAME = "medaction_2026-06-01_02-00-00.sql.gz"


@pytest.mark.parametrize(
    "before",
    [
        '{"files": [{"name": "x have[$(touch ran)] 0", "bytes": 1, "sha256": ""}, {"bytes": "x"}]}',
        '{"files": [{"bytes": 5}]}',  # two sums, of which bash makes no number: the run would end
        "{}",
        "1",
    ],
)
def test_manifest_is_one_object_and_what_stands_before_it_runs_nothing(
    vault: Vault, tmp_path: Path, before: str
) -> None:
    (tmp_path / "sent").write_text(f"{before}\n{manifest(NAME)}")
    said = vault(
        'name=$1.manifest.json; sftp_from() { cat >/dev/null; cp sent "$incoming/new/$name"; };'
        " as_fetcher_with_errors() { false; }; vault_user=$(id -un) here=none vault_bandwidth_kbit=0 ssh_key=k;"
        ' fetch_dump daily "$name" host 22 account; echo "the run goes on"',
        NAME,
    )
    assert f"ALARM {NAME}.manifest.json is no manifest of ours" in said and "the run goes on" in said, said
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("text", ["", "\n", "{} {}", "null"])
def test_manifest_in_which_nothing_stands_is_none(vault: Vault, tmp_path: Path, text: str) -> None:
    (tmp_path / "one").write_text(text)
    assert vault('is_a_manifest one daily "$1"', NAME).endswith("exit 1\n")


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_archive_that_is_packed_is_not_unpacked(vault: Vault, tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    work, dump = tmp_path / "work", "medaction_2026-06-01_02-00-00.dir"
    (work / dump).mkdir()
    with (work / dump / "toc.dat").open("wb") as file:
        file.truncate(20 << 20)
    plain = subprocess.run(["tar", "-cf", "-", dump], cwd=work, capture_output=True, check=True).stdout
    (work / f"{dump}.tar").write_bytes(pack(plain))
    (work / dump / "toc.dat").unlink()
    (work / dump).rmdir()
    said = vault('hand_over "" "$1"; echo "$said_of_proof"', dump)
    assert said.startswith(f"{dump}.tar holds what is neither file nor directory, or is no plain archive"), said
    assert [path.name for path in work.iterdir()] == [f"{dump}.tar"]


def test_what_could_not_be_unpacked_takes_no_room_from_the_next(vault: Vault, tmp_path: Path) -> None:
    dump = "medaction_2026-06-01_02-00-00.dir"
    path = tmp_path / f"store/db1/daily/{dump}.manifest.json"
    path.write_text(manifest(dump))
    vault(
        "is_still_one() { :; }; is_what_it_says() { :; }; look_for_doubts() { :; };"
        ' open_dump() { mkdir "$work/$dump"; echo half >"$work/$dump/toc.dat"; }; hand_over() { false; };'
        ' prove "$1"',
        path,
    )
    assert list((tmp_path / "work").iterdir()) == []


def test_full_disk_is_no_fault_of_a_copy(vault: Vault, tmp_path: Path) -> None:
    path = put(tmp_path, 1, "a", signed=False)
    said = vault(
        'utc_now() { echo now; }; free_bytes() { echo 500; }; prove "$1"; needs_a_proof "$1" && echo "is tried again"',
        path,
    )
    assert "is not proven (not made): to open it 1.1MiB are needed" in said and "has 500.0B: make room" in said, said
    assert "is tried again" in said


def test_half_a_signature_that_a_killed_run_has_left_is_replaced(vault: Vault, tmp_path: Path) -> None:
    path = put(tmp_path, 1, "a", signed=False)
    packages.ensure("ssh-keygen", "openssh-client")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "sign"], check=True)
    (tmp_path / "signers").write_text(f"vault {(tmp_path / 'sign.pub').read_text()}")
    whole = vault('signing_key=$PWD/sign; sign "$1"', path)
    assert "is signed" in whole and whole.endswith("exit 0\n"), whole
    signature = path.with_name(f"{path.name}.sig")
    signature.write_text(signature.read_text()[:40])
    verify = f'eval "$(sed -n \'/^is_signed()/,/^}}/p\' {FILES}/vault/lib/prove.sh)"; is_signed "$1"'
    assert vault(verify, path).endswith("exit 255\n")
    said = vault('signing_key=$PWD/sign; sign "$1" </dev/null', path)
    assert "is signed" in said and vault(verify, path) == "exit 0\n", said


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"tables": {"public.patients": 13000}, "objects": {"table public.patients": "x"}}, ""),
        ({"tables": {"public.patients": 0}, "objects": {"table public.patients": "x"}}, "has 0 rows, it had 13334"),
        ({"tables": {}, "objects": {"table public.patients": "x"}}, "public.patients has is not told, it had 13334"),
        ({"tables": {}, "objects": {}}, "public.patients has is not told, it had 13334"),
        ({"tables": {}, "objects": {"schema public": "x"}, "left_out": ["public.patients"]}, "no table is left of 1"),
    ],
)
def test_what_a_captured_host_does_not_tell_is_missed_all_the_same(
    vault: Vault, tmp_path: Path, told: dict[str, object], said: str
) -> None:
    put(tmp_path, 1, "a")
    last = put(tmp_path, 2, "b", signed=False)
    was = {"tables": {"public.patients": 13334}, "objects": {"table public.patients": "x"}}
    (tmp_path / "before").write_text(json.dumps({"content": was}))
    (tmp_path / "own").write_text(json.dumps({"database": "medaction", "content": told}))
    doubt = vault('open_copy() { cat before; }; look_for_doubts "$1" own; printf "%s;" "$doubt"', last)
    assert said in doubt and (said != "" or doubt == ";exit 0\n"), doubt


def test_thousands_of_databases_are_looked_through_in_a_process_each_at_most(vault: Vault, tmp_path: Path) -> None:
    for number in range(150):
        dump = f"medaction-x{number}_2026-06-01_02-00-00.sql.gz"
        (tmp_path / f"store/db1/daily/{dump}.manifest.json").write_text("{}")
    put(tmp_path, 1, "a")
    calls = vault("database_part() { echo x >&2; }; newest_sound medaction-x7; newest_signed medaction-x7")
    assert calls == "exit 0\n"
    assert vault("newest_sound medaction").startswith(f"{tmp_path}/store/db1/daily/{NAME}.manifest.json")


def test_key_that_is_gone_opens_nothing(vault: Vault, tmp_path: Path) -> None:
    (tmp_path / f"store/db1/daily/{NAME}.age").write_text("x")
    for text in (None, "x"):
        if text:
            (tmp_path / "none").write_text(text)
        said = vault('die() { echo "$1"; exit "$2"; }; EXIT_USAGE=2; (list_unopenable)')
        assert "none is no key: it opens nothing" in said and said.endswith("exit 2\n"), said


def test_what_is_told_of_a_database_obeys_no_terminal(vault: Vault) -> None:
    said = vault(
        f"eval \"$(sed -n '/^alarm()/,/^}}/p' {FILES}/vault/vault.sh)\";"
        ' alarm "$(printf "of x\\u202e\\u009b2J\\e[2J\\ngnp")"; cat state/alarms'
    )
    assert "db1: of x" in said and not set(said) & set("\x1b\x9b\u202e"), said


def test_clock_that_was_ahead_keeps_no_alarm_and_makes_no_copy_fresh(vault: Vault, tmp_path: Path) -> None:
    path = put(tmp_path, 1, "a")
    os.utime(path, (path.stat().st_mtime + 400 * 86400,) * 2)
    (tmp_path / "state/alarms").write_text(f"{int(path.stat().st_mtime)} db1 it was not reached\n")
    (tmp_path / "state/last-run").write_text(str(int(path.stat().st_mtime)))
    said = vault('note_this_run; cat state/alarms; worst=0 findings=(); check_source db1; echo "${findings[@]}"')
    assert "a proven copy of medaction came 0 h ago" in said, said
    noted = int((tmp_path / "state/alarms").read_text().split()[0])
    assert abs(noted - path.stat().st_mtime) < 60


def test_clock_that_is_behind_makes_no_copy_old(vault: Vault, tmp_path: Path) -> None:
    path = put(tmp_path, 1, "a")
    came = path.stat().st_mtime
    said = vault(
        'then=$(( $(date +%s) - 400 * 86400 )); date() { if [[ $1 == +%s ]]; then echo "$then"; else'
        ' echo 2025-10-20_00-00-00; fi; }; touch() { command touch -d "@$then" "$@"; }; note_this_run'
    )
    assert path.stat().st_mtime == came, said


def test_no_host_hides_with_its_own_what_is_wrong_at_another(vault: Vault, tmp_path: Path) -> None:
    lines = [f"{when} db2 copy {when} is not proven\n" for when in range(1795000000, 1795000500)]
    (tmp_path / "state/alarms").write_text("1794999999 db1 the newest copy is gone there\n" + "".join(lines))
    said = vault('date() { echo 1795000600; }; worst=0 findings=(); check_alarms; printf "%s\\n" "${findings[@]}"')
    assert "db1: the newest copy is gone there" in said and said.count("db2: copy") == 20, said


LEFT = ["age", "json.age", "proof.json", "accepted.json", "manifest.json", "manifest.json.sig"]


def test_kill_while_a_copy_comes_or_goes_leaves_nothing_for_ever(vault: Vault, tmp_path: Path) -> None:
    there = tmp_path / "store/db1/daily"
    for place in range(len(LEFT)):  # killed before that step of it, by a program in the place of rm
        for end in LEFT:
            (there / f"{NAME}.{end}").write_text("x")
        vault(
            f'n=0; rm() {{ (( n++ < {place} )) || exit 1; command rm "$@"; }}; (remove_copy "$1" 9)',
            there / f"{NAME}.manifest.json",
        )
        vault("remove_halves")
        names = {path.name for path in there.iterdir()}
        assert names in (set(), {f"{NAME}.{end}" for end in LEFT}, {f"{NAME}.{end}" for end in LEFT[:-1]}), (
            place,
            names,
        )
        for path in there.iterdir():
            path.unlink()


def test_nothing_that_was_said_of_another_copy_of_that_name_is_said_of_this(vault: Vault, tmp_path: Path) -> None:
    there = tmp_path / "store/db1/daily"
    for end in ("accepted.json", "proof.json", "manifest.json.sig"):
        (there / f"{NAME}.{end}").write_text("{}")
    (tmp_path / "work/files").mkdir()
    (tmp_path / f"work/files/{NAME}.age").write_text("rows")
    (tmp_path / "work/wanted").write_text(f"{NAME}.age 4 sum\n")
    (tmp_path / "manifest").write_text("{}")
    vault('put_away daily "$1.manifest.json" manifest', NAME)
    assert {path.name for path in there.iterdir()} == {f"{NAME}.age", f"{NAME}.manifest.json"}


def test_other_side_cannot_have_its_words_told_as_ours(vault: Vault, tmp_path: Path) -> None:
    (tmp_path / "work/left").write_text("get 9 /daily/x.age part/x.age\n")
    for path, told in (
        ("/daily/x.age", "x.age is longer there"),
        ("/daily/all is well: nothing", "x.age could not be fetched: "),
    ):
        (tmp_path / "work/sftp.err").write_text(f"{path} is longer there than its manifest says\n")
        assert f"ALARM {told}" in vault("not_fetched x.age")


def test_room_for_a_copy_of_many_gigabytes_is_a_number_to_bash(vault: Vault, tmp_path: Path) -> None:
    """mawk prints what has more than 31 bits as 3.2e+09."""
    with (tmp_path / "dump").open("wb") as file:
        file.truncate(5 << 30)
    program = f"eval \"$(sed -n '/^enough_room()/,/^}}/p' {FILES}/vault/offsite.sh)\"; outbox=here outbox_work=$PWD"
    program += ' backup_reserve_mb=0; as_owner() { "$@"; }; enough_room "$PWD/dump"; echo "the run goes on"'
    for free, said in (
        (4 << 30, "has 4.0GiB free, a copy of dump needs 5.0GiB"),
        (6 << 30, "the run goes on\nexit 0\n"),
    ):
        told = vault(f"free_bytes() {{ echo {free}; }}; {program}")
        assert said in told and "the run goes on" in told and "syntax error" not in told, told


def test_directory_has_its_name_when_all_of_it_is_there(tmp_path: Path) -> None:
    dump = "medaction_2026-06-01_02-00-00.dir"
    (tmp_path / dump).mkdir()
    for number in range(5):
        (tmp_path / dump / f"{number}.dat").write_bytes(b"x" * 10000)
    subprocess.run(["tar", "-cf", f"{dump}.tar", dump], cwd=tmp_path, check=True)
    subprocess.run(["rm", "-r", dump], cwd=tmp_path, check=True)
    whole = (tmp_path / f"{dump}.tar").read_bytes()
    (tmp_path / f"{dump}.tar").write_bytes(whole[: len(whole) // 2])
    unpack = ["sh", FILES / "vault/unpack.sh", tmp_path / f"{dump}.tar"]
    assert subprocess.run(unpack, capture_output=True, check=False).returncode != 0
    assert not (tmp_path / dump).exists()
    (tmp_path / f"{dump}.tar").write_bytes(whole)
    subprocess.run(unpack, check=True)
    assert [path.name for path in tmp_path.iterdir()] == [dump] and len(list((tmp_path / dump).iterdir())) == 5


@pytest.fixture
def push(tmp_path: Path) -> Callable[[], str]:
    """A run of push.sh to a directory, with rclone itself, and what its --check says."""
    packages.ensure("rclone", "rclone")
    for name in ("vault/store/db1/daily", "vault/secrets", "place", "push", "run"):
        (tmp_path / name).mkdir(parents=True)
    program = f"""set -uo pipefail; cd "$1"
        push_from=$PWD/vault push_parts=(store secrets) push_below= push_state=$PWD/push work=$PWD/run
        push_bandwidth=off
        failures=0 worst=0 push_maximum_age_hours=30 target=place place=$PWD/place/ key=$PWD/push/key
        log() {{ printf '%s %s\n' "$1" "$2"; }}; info() {{ :; }}
        eval "$(sed -n '/^plain_text()/,/^}}/p' {FILES}/backup/lib/base.sh)"
        parts='/^data=/p; /^may_change=/p; /^readonly [lt]/p; /_one() /,/^}}/p; /^said_by_rclone()/,/^# --- Whether/p'
        eval "$(sed -n "$parts" {FILES}/vault/push.sh)"
        rclone_() {{ RCLONE_CONFIG=/dev/null rclone --retries 1 "$@" </dev/null 2>"$work/rclone.err"; }}
        probe() {{ :; }}; push_in_turn; check_one"""

    def run() -> str:
        done = subprocess.run(
            ["bash", "-c", program, "-", tmp_path], capture_output=True, text=True, timeout=60,
            env={**os.environ, "LC_ALL": "C.UTF-8"}, check=False,
        )  # fmt: skip
        return done.stdout + done.stderr

    return run


def a_copy(root: Path, name: str, text: str = "x") -> None:
    for end in ("age", "proof.json", "manifest.json", "manifest.json.sig"):
        (root / f"vault/store/db1/daily/{name}.{end}").write_text(text)


def test_secrets_that_are_sealed_anew_go_there_and_keep_no_copy_back(push: Callable[[], str], tmp_path: Path) -> None:
    sealed = tmp_path / "vault/secrets/production.env.age"
    sealed.write_text("old")
    a_copy(tmp_path, "n1")
    assert "OK: place: has all" in push()
    sealed.write_text("sealed anew")
    a_copy(tmp_path, "n2")
    assert "OK: place: has all" in push()
    assert (tmp_path / "place/secrets/production.env.age").read_text() == "sealed anew"
    assert (tmp_path / "place/store/db1/daily/n2.manifest.json.sig").exists()


def test_copy_that_was_encrypted_anew_is_told_not_replaced_and_keeps_no_other_back(
    push: Callable[[], str], tmp_path: Path
) -> None:
    a_copy(tmp_path, "n1")
    push()
    a_copy(tmp_path, "n1", "encrypted anew")
    a_copy(tmp_path, "n2")
    for _ in range(2):
        said = push()
        assert "WARNING: place: 3 file(s) there are others than here, such as store/db1/daily/n1.age" in said, said
        assert "name another directory in backup_offsite" in said
    there = tmp_path / "place/store/db1/daily"
    assert (there / "n1.age").read_text() == "x" and (there / "n2.manifest.json.sig").exists()


def test_copy_is_there_whole_when_its_signature_is(push: Callable[[], str], tmp_path: Path) -> None:
    a_copy(tmp_path, "n1")
    (tmp_path / "place/store/db1/daily/n1.proof.json").mkdir(parents=True)  # which cannot be copied there
    assert "not everything was copied" in push()
    assert not (tmp_path / "place/store/db1/daily/n1.manifest.json.sig").exists()


def test_whatever_is_gone_there_is_told_and_brought_again(push: Callable[[], str], tmp_path: Path) -> None:
    (tmp_path / "vault/secrets/production.env.age").write_text("x")
    a_copy(tmp_path, "n1")
    push()
    push()
    gone = [tmp_path / "place" / name for name in ("secrets/production.env.age", "store/db1/daily/n1.proof.json")]
    for path in gone:
        path.unlink()
    os.utime(tmp_path / "push/key.looked", (0, 0))
    assert "2 copies that were there are gone, such as secrets/production.env.age" in push()
    assert all(path.exists() for path in gone)


def test_place_that_has_nothing_yet_is_asked_for_no_list(push: Callable[[], str], tmp_path: Path) -> None:
    """Where there is no such directory yet, a list of it is an error; what else is wrong the first copy tells."""
    a_copy(tmp_path, "n1")
    (tmp_path / "push/key.has").touch()
    (tmp_path / "place").rmdir()
    assert "OK: place: has all" in push()


def test_week_that_comes_with_a_newer_night_lacks_nothing_of_that(vault: Vault, tmp_path: Path) -> None:
    put(tmp_path, 6, "b")
    week = tmp_path / f"store/db1/weekly/{NAME}.manifest.json"
    week.write_text(manifest(NAME, tier="weekly"))
    for path, rows in (("before", 1000), ("own", 100)):
        content = {"tables": {"public.patients": rows}, "objects": {"table public.patients": "x"}}
        (tmp_path / path).write_text(json.dumps({"content": content}))
    doubts = 'open_copy() { cat before; }; look_for_doubts "$1" own; printf "%s;" "$doubt"'
    assert vault(doubts, week) == ";exit 0\n"
    assert "has 100 rows, it had 1000" in vault(doubts, put(tmp_path, 7, "c", signed=False))


@pytest.mark.parametrize(("prove", "days", "said"), [("each", 3, 2), ("weekly", 3, 0), ("weekly", 9, 2)])
def test_weekly_proof_is_late_after_a_week(vault: Vault, tmp_path: Path, prove: str, days: int, said: int) -> None:
    path = put(tmp_path, 1, "a")
    os.utime(path, (path.stat().st_mtime - days * 86400,) * 2)
    (tmp_path / "state/db1.reached").write_text("9999999999")
    told = vault('vault_prove=$1 worst=0 findings=(); check_source db1; echo "$worst"', prove)
    assert told == f"{said}\nexit 0\n"


def test_copies_of_one_database_under_two_names_are_one_series(tmp_path: Path) -> None:
    told = {"host": "db1", "database": "crm", "proven_at": 5, "suspect": "a table"}
    lines = [told, told | {"proven_at": 9, "suspect": ""}, told | {"host": "db2", "proven_at": None, "suspect": ""}]
    (tmp_path / "report").write_text(
        "".join(json.dumps(line) + "\n" for line in [*lines, {"source": "db1", "alarms": 2}])
    )
    metrics = FILES / "vault/vault-metrics.jq"
    done = subprocess.run(
        ["jq", "-nr", "--arg", "app", "m", "--from-file", metrics, tmp_path / "report"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    series = [line.rsplit(" ", 1) for line in done.stdout.splitlines() if not line.startswith("#")]
    assert len({name for name, _ in series}) == len(series) == 4, done.stdout
    assert 'source="db1",database="crm"} 9\n' in done.stdout and 'vault_alarms{app="m",source="db1"} 2' in done.stdout


def test_fetch_that_was_cut_needs_room_for_the_rest_of_it_alone(vault: Vault, tmp_path: Path) -> None:
    files = [each | {"bytes": 20 << 20} for each in json.loads(manifest(NAME))["files"][:1]]
    (tmp_path / "told").write_text(manifest(NAME, files=files))
    (tmp_path / "incoming/part").mkdir()
    said = 'free_bytes() { echo 8000000; }; room_for told part && echo "goes on"'
    assert "needs 21.0MiB" in vault(said) and "goes on" not in vault(said)
    (tmp_path / f"incoming/part/{NAME}.age").write_bytes(b"x" * (15 << 20))
    assert "goes on" in vault(said)
