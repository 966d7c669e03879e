"""People are told when the state of the backups changes, and once a day as long as it is not well.

Apprise itself, with a real mail server and a real receiver, is tried on a host: tests/e2e/test_notify.py.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest
from pydantic import SecretStr

from provision.backup import layout

from .host import Host

# What is told, a line each: the address, the title. Who is "deaf" is not reached.
APPRISE = """
address=$(cat "${2#file://}" 2>/dev/null || cat "$(sed 's,file://,,; s,?.*,,' <<<"$2")")
printf '%s|%s|%s\\n' "$address" "$4" "$(cat)" >>told
case $address in *deaf*) echo "$address is not reached" >&2; exit 1 ;; esac
"""


@pytest.fixture
def notifying(host: Host) -> Host:
    host.configure(notify=SecretStr("json://u:k3y@first json://u:k3y@second"))
    for file in layout.notifying(host.settings)[:2]:
        host.place(file.content, Path(file.path), file.mode | 0o004)  # the stand-in host has one user
    host.shim("apprise", APPRISE)
    return host


def look(host: Host, *arguments: str) -> subprocess.CompletedProcess[str]:
    return host.run("../../programs/notify.sh", *arguments)


def told(host: Host, address: str = "first") -> list[str]:
    """The states that an address was told, in their order."""
    path = host.app_dir / "told"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.split("|")[1].rsplit(" ", 1)[1] for line in lines if line.split("|")[0].endswith(address)]


def noted(host: Host, number: int) -> Path:
    return Path(host.settings.backup_state_dir, f"notified.{number}")


def test_a_change_is_told_once_and_that_it_is_well_again_too(notifying: Host) -> None:
    for _ in range(2):
        assert look(notifying).returncode == 0
    assert told(notifying) == told(notifying, "second") == ["CRITICAL"]
    notifying.good_backup()
    notifying.good_backup("--tier", "weekly")
    for _ in range(2):
        assert look(notifying).returncode == 0
    assert told(notifying) == ["CRITICAL", "OK"]


def test_nobody_is_told_that_all_is_well_when_it_was_always(notifying: Host) -> None:
    notifying.good_backup()
    assert look(notifying).returncode == 0 and told(notifying) == []


def test_what_lasts_is_told_again_after_a_day(notifying: Host) -> None:
    look(notifying)
    for hours, times in ((23, 1), (25, 2)):
        state, at = noted(notifying, 1).read_text().split()
        noted(notifying, 1).write_text(f"{state} {int(at) - hours * 3600}\n")
        look(notifying)
        assert told(notifying) == ["CRITICAL"] * times


def test_who_is_not_reached_is_tried_again_and_the_others_are_told_once(notifying: Host) -> None:
    path = Path(notifying.settings.backup_config_dir, "notify")
    path.write_text("json://u:k3y@deaf\njson://u:k3y@second\n")
    for _ in range(2):
        done = look(notifying)
        assert done.returncode == 1 and "address 1 was not told of CRITICAL" in done.stderr
        assert "k3y" not in done.stderr + done.stdout
    assert (told(notifying, "deaf"), told(notifying, "second")) == (["CRITICAL"] * 2, ["CRITICAL"])
    assert not noted(notifying, 1).exists()


@pytest.mark.parametrize(
    "text", ["", "CRITICAL", "OK never", "CRITICAL 99999999999999999999", "$(touch x) 1", "a[$(touch x)] 1"]
)
def test_a_damaged_note_is_as_good_as_none(notifying: Host, text: str) -> None:
    noted(notifying, 1).write_text(text)
    assert look(notifying).returncode == 0
    assert told(notifying) == ["CRITICAL"] and not (notifying.app_dir / "x").exists()


def test_a_trial_is_told_to_everybody_and_changes_nothing(notifying: Host) -> None:
    assert look(notifying, "--test").returncode == 0
    assert told(notifying) == told(notifying, "second") == ["watched"] and not noted(notifying, 1).exists()


def test_the_addresses_are_in_no_argument_list_and_no_environment(notifying: Host) -> None:
    look_at = "for p in /proc/[0-9]*; do cat $p/cmdline $p/environ 2>/dev/null | tr '\\0' ' '; done >>seen"
    notifying.shim("apprise", f"{look_at}\n{APPRISE}")
    assert look(notifying).returncode == 0
    seen = (notifying.app_dir / "seen").read_text(errors="replace")
    assert seen.count("--title") >= 2 and "k3y" not in seen


def test_clock_that_was_ahead_once_silences_nobody(notifying: Host) -> None:
    look(notifying)
    noted(notifying, 1).write_text(f"CRITICAL {int(time.time()) + 400 * 86400}\n")
    look(notifying)
    assert told(notifying) == ["CRITICAL"] * 2
