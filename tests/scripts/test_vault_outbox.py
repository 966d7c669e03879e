"""The parts of a backup host's program that makes copies for vaults, each by itself."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from provision.settings.render import FILES

from .vault_parts import Vault


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
    program = f""". {FILES}/backup/lib/encrypted.sh
        eval "$(sed -n "/^plain_stream()/,/^}}/p" {FILES}/vault/offsite.sh)"
        as_owner() {{ timeout 10 "$@"; }}; plain_stream"""
    said = vault(f'{program} "$1" 3>also >out', place)
    assert f"{place} is no file" in said and not said.startswith(("exit 0", "exit 124")), said
    (tmp_path / "file").write_bytes(b"rows" * 30000)
    assert vault(f'{program} "$1" 3>also >out', tmp_path / "file") == "exit 0\n"
    assert (tmp_path / "also").read_bytes() == (tmp_path / "out").read_bytes() == b"rows" * 30000


SEAL = f""". {FILES}/backup/lib/encrypted.sh
    eval "$(sed -n '/^seal()/,/^}}/p; /^plain_stream()/,/^}}/p' {FILES}/vault/offsite.sh)"
    as_owner() {{ timeout 10 "$@"; }}; set -o pipefail; PATH=$PWD/bin:$PATH recipients_file=$PWD/recipients
    mkdir bin; seal dump "$1"; echo "sealed $?: $(cat work/files 2>/dev/null)\""""


def test_copy_has_the_sums_of_what_went_in_and_of_what_came_out(vault: Vault, tmp_path: Path) -> None:
    said = subprocess.run(
        ["age-keygen", "-o", tmp_path / "identity"], capture_output=True, text=True, check=True
    ).stderr
    (tmp_path / "recipients").write_text(said.split()[-1])
    (tmp_path / "dump").write_bytes(rows := b"rows" * 300_001)
    told = vault(SEAL, tmp_path / "dump")
    sealed = (tmp_path / "work/dump.age").read_bytes()
    sums = f"{hashlib.sha256(sealed).hexdigest()} {hashlib.sha256(rows).hexdigest()}"
    assert told == f"sealed 0: dump {len(sealed)} {sums}\nexit 0\n"
    opened = subprocess.run(["age", "-d", "-i", tmp_path / "identity"], input=sealed, capture_output=True, check=True)
    assert opened.stdout == rows and (tmp_path / "work/dump.age").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("ends", ["exit 3", "kill -KILL $$", "head -c 9; exit 3"])
@pytest.mark.parametrize("program", ["age", "sha256sum", "perl"])
def test_copy_one_of_whose_programs_fails_is_none_and_waits_for_nobody(
    vault: Vault, tmp_path: Path, program: str, ends: str
) -> None:
    (tmp_path / "dump").write_bytes(b"rows" * 300_000)
    (tmp_path / "recipients").write_text("age1" + "q" * 58)
    for name in ("age", program):  # a key that nobody has is one of age's errors, too
        (tmp_path / f"{name}-here").write_text(f"#!/bin/sh\n{ends if name == program else 'exec cat'}\n")
        (tmp_path / f"{name}-here").chmod(0o755)
    links = f"ln -s ../age-here bin/age; ln -sf ../{program}-here bin/{program}; seal dump"
    told = vault(SEAL.replace("seal dump", links, 1), tmp_path / "dump")
    assert told.startswith("sealed 1: \nexit 0\n")  # and what the shell says of a kill


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
