"""The parts of a vault's program that open, restore, compare and sign copies, each by itself."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from provision.settings.render import FILES
from tests.sandbox import packages

from .vault_parts import NAME, Vault, manifest, put


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
