"""What is different between a file as it should be and as it was found, in words."""

from __future__ import annotations

import pytest

from provision.debian.entries import Directory, File, Found, Log, differences

FILE = File("/etc/app.conf", "text\n", "root", "app", 0o640)
DIRECTORY = Directory("/opt/app", "root", "app", 0o1775)
AS_IT_SHOULD_BE = Found("regular file", 0o640, "root", "app", FILE.sha256)


def found(**changes: object) -> Found:
    return Found(**{**vars(AS_IT_SHOULD_BE), **changes})


def test_nothing_differs_in_a_file_as_it_should_be():
    assert list(differences(FILE, AS_IT_SHOULD_BE)) == []


def test_nothing_differs_in_a_directory_as_it_should_be():
    assert list(differences(DIRECTORY, Found("directory", 0o1775, "root", "app"))) == []


@pytest.mark.parametrize(
    ("there", "told"),
    [
        (None, "/etc/app.conf: is missing"),
        (found(sha256="0" * 64), "/etc/app.conf: its content differs"),
        (found(sha256=None), "/etc/app.conf: its content differs"),
        (found(mode=0o644), "/etc/app.conf: mode is 0644, should be 0640"),
        (found(mode=0o4640), "/etc/app.conf: mode is 4640, should be 0640"),
        (found(user="app"), "/etc/app.conf: is owned by app:app, should be root:app"),
        (found(group="UNKNOWN"), "/etc/app.conf: is owned by root:UNKNOWN, should be root:app"),
        (found(kind="symbolic link"), "/etc/app.conf: is a symbolic link, should be a regular file"),
        (found(kind="directory"), "/etc/app.conf: is a directory, should be a regular file"),
    ],
)
def test_a_difference_is_told_with_what_should_be(there: Found | None, told: str):
    assert list(differences(FILE, there)) == [told]


def test_every_difference_is_told():
    assert len(list(differences(FILE, Found("regular file", 0o777, "a", "b", None)))) == 3


def test_a_file_where_a_directory_should_be_is_told_alone():
    assert list(differences(DIRECTORY, found())) == ["/opt/app: is a regular file, should be a directory"]


def test_a_difference_never_shows_the_content():
    secret = File("/etc/pgpass", "zq-hidden\n")
    assert "zq-hidden" not in "".join(differences(secret, found()))


def test_what_others_wrote_into_a_log_is_no_difference():
    log = Log("/var/log/app.log", "app", "app", 0o640)
    assert list(differences(log, Found("regular file", 0o640, "app", "app", "0" * 64))) == []


def test_a_log_that_root_began_is_a_difference():
    log = Log("/var/log/app.log", "app", "app", 0o640)
    (told,) = differences(log, Found("regular file", 0o640, "root", "root", "0" * 64))
    assert told == "/var/log/app.log: is owned by root:root, should be app:app"


def test_a_text_without_its_last_line_break_is_no_file():
    with pytest.raises(ValueError, match="ends with a line break"):
        File("/etc/app.conf", "text")


def test_the_size_of_a_file_is_that_of_its_bytes():
    assert File("/x", "é\n").size_bytes == 3
