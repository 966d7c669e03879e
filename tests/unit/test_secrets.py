"""Where a secret comes from: each source, what is wrong with it in words, and nothing of it printed."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from provision.settings import secrets
from provision.settings.secrets import SecretError

AWKWARD = ["p@ss:/?#[]!$&'()*+,;=% \"\\", "mot de passe épicé", "日本語", " edges ", "a=b=c", "#hash", "'\"`"]
HIDDEN = "zq-hidden-9f3"


def text_of(reference: object, setting: str = "redis_password", environment: str = "staging") -> str:
    return secrets.read(setting, reference, environment).get_secret_value()


def refusal_of(reference: object) -> str:
    with pytest.raises(SecretError) as raised:
        text_of(reference)
    return str(raised.value)


@pytest.mark.parametrize("password", AWKWARD)
def test_a_variable_is_taken_as_it_stands(password: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SOME_SECRET", password)
    assert text_of("env:SOME_SECRET") == password


def test_a_variable_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SOME_SECRET", raising=False)
    assert refusal_of("env:SOME_SECRET") == "is missing: the environment variable SOME_SECRET is not set"


def test_a_variable_that_is_no_text_is_refused_without_being_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(os.environ, "SOME_SECRET", os.fsdecode(HIDDEN.encode() + b"\xff"))
    assert refusal_of("env:SOME_SECRET") == "cannot be read: it is not UTF-8 text"


@pytest.mark.parametrize("password", AWKWARD)
def test_a_file_gives_its_first_line(password: str, project: Any):
    project.write("redis.txt", f"{password}\nanother line\n")
    assert text_of("file:redis.txt") == password


@pytest.mark.parametrize("reference", ["file:rclone.conf", "command:cat {}"])
def test_a_secret_that_is_a_file_has_all_its_lines(reference: str, project: Any):
    text = "[s3]\ntype = s3\n\nsecret_access_key = x\n"
    path = project.write("rclone.conf", text)
    read = secrets.read("backup_offsite_config", reference.format(path), "staging")
    assert read.get_secret_value() == text


def test_a_file_with_the_line_breaks_of_windows_gives_the_same_secret(project: Any):
    project.write("redis.txt", "secret\r\n")
    assert text_of("file:redis.txt") == "secret"


def test_a_file_may_have_an_absolute_path(project: Any):
    assert text_of(f"file:{project.write('redis.txt', 'secret')}") == "secret"


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o644, 0o660, 0o601])
def test_a_file_that_others_can_read_is_refused_with_the_command_that_mends_it(mode: int, project: Any):
    path = project.write("redis.txt", HIDDEN, mode)
    assert refusal_of("file:redis.txt") == f"others may read redis.txt (mode {mode:04o}); run `chmod 600 {path}`"


def test_a_file_that_is_not_there_is_named(project: Any):
    assert refusal_of("file:nowhere.txt") == "is missing: there is no file nowhere.txt"


def test_a_file_that_is_no_text_is_refused_without_being_shown(project: Any):
    project.write("redis.txt", HIDDEN.encode() + b"\xff\n")
    assert refusal_of("file:redis.txt") == "cannot be read: it is not UTF-8 text"


def test_an_empty_file_is_refused(project: Any):
    project.write("redis.txt", "")
    assert refusal_of("file:redis.txt") == "file: redis.txt is empty"


@pytest.mark.parametrize("password", AWKWARD)
def test_a_command_gives_the_first_line_that_it_prints(password: str, project: Any):
    path = project.write("redis.txt", f"{password}\nnote\n")
    assert text_of(f"command:cat '{path}'") == password


def test_a_command_is_not_read_by_a_shell():
    assert text_of("command:echo $HOME;id") == "$HOME;id"


def test_a_command_is_run_once_for_all_hosts(project: Any):
    log = project.root / "log"
    reference = f"command:sh -c 'echo x >>{log}; echo secret'"
    reader = secrets.Reader("staging")
    read = [reader.read(name, reference).get_secret_value() for name in ("redis_password", "postgres_password")]
    assert [*read, log.read_text()] == ["secret", "secret", "x\n"]


def test_a_failing_command_is_told_without_what_it_printed():
    said = refusal_of(f"command:sh -c 'echo {HIDDEN}; echo {HIDDEN} >&2; exit 3'")
    assert said == "is missing: the command sh ended with exit code 3"


def test_a_command_that_does_not_exist_is_named():
    assert "['no-such-command'] did not run" in refusal_of("command:no-such-command --flag")


def test_a_command_with_a_quote_too_many_is_refused_in_one_sentence():
    assert refusal_of("command:pass show 'medaction") == "cannot be read: No closing quotation"


def test_a_command_without_a_word_is_refused_in_one_sentence():
    assert "did not run" in refusal_of("command:")


def test_a_command_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(secrets, "COMMAND_TIMEOUT_SECONDS", 0.1)
    assert "['sleep'] did not run: TimeoutExpired" in refusal_of("command:sleep 60")


@pytest.mark.parametrize("reference", [HIDDEN, f"vault:{HIDDEN}", 12345678, ["env:X"], {"env": "X"}, True, ""])
def test_a_secret_in_the_inventory_itself_is_refused_and_not_shown(reference: object):
    assert refusal_of(reference) == "must point at the secret (env:NAME, file:PATH or command:...), not be it"


@pytest.mark.parametrize("password", AWKWARD)
def test_the_environments_own_file_is_taken_as_it_stands(password: str, project: Any):
    project.write(".secrets/staging.env", f"# a note\n\nother=1\nredis_password={password}\n")
    assert text_of(None) == password


def test_the_environments_own_file_may_have_the_line_breaks_of_windows(project: Any):
    project.write(".secrets/staging.env", "redis_password=secret\r\nother=1\r\n")
    assert text_of(None) == "secret"


def test_the_environments_own_file_must_be_private_too(project: Any):
    project.write(".secrets/staging.env", f"redis_password={HIDDEN}\n", 0o644)
    said = refusal_of(None)
    assert "others may read staging.env" in said and HIDDEN not in said


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "is missing: there is no .secrets/staging.env; run `make secrets ENV=staging`"),
        ("other=1\n", "is missing: .secrets/staging.env has no line redis_password=...; run `make secrets"),
        ("redis_password=\n", "is empty: write it after redis_password= in .secrets/staging.env, or remove that line"),
    ],
)
def test_what_the_environments_own_file_lacks_is_told_with_the_remedy(text: str | None, told: str, project: Any):
    if text is not None:
        project.write(".secrets/staging.env", text)
    assert refusal_of(None).startswith(told)


def test_missing_secrets_are_generated_each_its_own(project: Any):
    assert secrets.generate_missing("staging", ["redis_password", "postgres_password"]) == [
        "redis_password",
        "postgres_password",
    ]
    first, second = text_of(None), text_of(None, "postgres_password")
    assert first != second and min(len(first), len(second)) >= 32


def test_a_second_generation_adds_nothing(project: Any):
    secrets.generate_missing("staging", ["redis_password"])
    before = secrets.file_of("staging").read_bytes()
    assert secrets.generate_missing("staging", ["redis_password"]) == []
    assert secrets.file_of("staging").read_bytes() == before


@pytest.mark.parametrize(
    "text",
    ["postgres_password= p@ss '\"` \n", "# mine\n\npostgres_password=a", "postgres_password=é\r\n# ü\r\n", "\n\n", ""],
)
def test_what_is_there_stays_to_the_byte(text: str, project: Any):
    file = project.write(".secrets/staging.env", text)
    secrets.generate_missing("staging", ["redis_password"])
    assert file.read_bytes().startswith(text.encode()) and text_of(None)


def test_nothing_is_added_to_a_file_that_cannot_be_read(project: Any):
    file = project.write(".secrets/staging.env", "postgres_password=café\n".encode("latin-1"))
    with pytest.raises(SecretError, match=r"\.secrets/staging\.env is not UTF-8 text"):
        secrets.generate_missing("staging", ["redis_password"])
    assert file.read_bytes() == b"postgres_password=caf\xe9\n"


def test_the_generated_file_is_private_from_its_first_byte(project: Any, monkeypatch: pytest.MonkeyPatch):
    modes = []
    really_open = os.open

    def spy(path: Path, flags: int, mode: int = 0o777) -> int:
        descriptor = really_open(path, flags, mode)
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return descriptor

    monkeypatch.setattr(secrets.os, "open", spy)
    before = os.umask(0)
    try:
        secrets.generate_missing("staging", ["redis_password"])
    finally:
        os.umask(before)
    assert modes == [0o600] and stat.S_IMODE(secrets.file_of("staging").stat().st_mode) == 0o600


def test_the_directory_of_the_generated_file_is_private(project: Any):
    secrets.generate_missing("staging", ["redis_password"])
    assert stat.S_IMODE(secrets.file_of("staging").parent.stat().st_mode) == 0o700


def test_a_generation_that_was_cut_off_does_not_stop_the_next(project: Any):
    project.write(".secrets/staging.part", "redis_pass", 0o644)
    assert secrets.generate_missing("staging", ["redis_password"]) and text_of(None)


def test_a_file_that_others_can_read_is_not_added_to(project: Any):
    file = project.write(".secrets/staging.env", "postgres_password=a\n", 0o644)
    with pytest.raises(SecretError, match="others may read"):
        secrets.generate_missing("staging", ["redis_password"])
    assert file.read_text() == "postgres_password=a\n"
