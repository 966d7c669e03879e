"""The parts of a vault's program that take what a backup host sends, each by itself: no server, no network."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest

from provision.settings.render import FILES

from .vault_parts import NAME, Vault, manifest


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


def test_fetch_that_was_cut_needs_room_for_the_rest_of_it_alone(vault: Vault, tmp_path: Path) -> None:
    files = [each | {"bytes": 20 << 20} for each in json.loads(manifest(NAME))["files"][:1]]
    (tmp_path / "told").write_text(manifest(NAME, files=files))
    (tmp_path / "incoming/part").mkdir()
    said = 'free_bytes() { echo 8000000; }; room_for told part && echo "goes on"'
    assert "needs 21.0MiB" in vault(said) and "goes on" not in vault(said)
    (tmp_path / f"incoming/part/{NAME}.age").write_bytes(b"x" * (15 << 20))
    assert "goes on" in vault(said)
