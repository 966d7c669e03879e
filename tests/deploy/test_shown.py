"""What a host says is shown and not obeyed; the colours of pyinfra stay. What that stands on in pyinfra."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from pyinfra import logger
from pyinfra.api import output, util
from pyinfra.connectors.util import CommandOutput, OutputLine
from pyinfra_cli.log import LogFormatter, LogHandler

from provision.engine import reach
from provision.engine.preflight import PreflightError
from provision.engine.shown import line, shown
from provision.settings.project import PROJECT
from tests.deploy.fake import Fleet, commands, state

HOSTILE = "a\x1b]0;title\x07\x1b[31mred\r\x9b2Jover\u202egpj.exe\u2066\u200b\x00\x7f\u2028end\U000e0041"


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What reaches the terminal, as a terminal would get it."""
    lines: list[str] = []
    monkeypatch.setattr(click, "echo", lambda message=None, **_: lines.append(str(message)))
    reach.watched()
    handler = LogHandler()
    handler.setFormatter(LogFormatter())
    logger.addHandler(handler)
    monkeypatch.setattr(logger, "level", logging.INFO)
    yield lines
    logger.removeHandler(handler)


def harmless(text: str) -> bool:
    return all(each == "\n" or each.isprintable() for each in text)


def test_each_character_that_is_not_seen_by_itself_is_written_out() -> None:
    assert shown(HOSTILE) == (
        r"a\x1b]0;title\x07\x1b[31mred\r\x9b2Jover\u202egpj.exe\u2066\u200b\x00\x7f\u2028end\U000e0041"
    )


@pytest.mark.parametrize("plain", ["Ärzte, 数据库, emoji 🎉 and\ttabs", "", "C:\\Users\\x", "[31m without its ESC"])
def test_what_is_seen_stays_as_it_is(plain: str) -> None:
    assert shown(plain) == plain


def test_no_number_or_object_is_too_odd_to_be_shown() -> None:
    assert (shown(7), shown(None), shown({"a": "\x1b"}), shown("\ud800")) == ("7", "None", "{'a': '\\x1b'}", "\\ud800")


def test_a_styled_text_of_pyinfras_keeps_its_style_and_shows_the_hosts(printed: list[str]) -> None:
    logger.info(f"[{output.format_text('app1', bold=True)}] {output.format_text(HOSTILE, 'red')} {HOSTILE}")
    (told,) = printed
    assert told.count("\x1b[") == 4 and told.count(shown(HOSTILE)) == 2
    assert harmless(told.replace("\x1b[1m", "").replace("\x1b[0m", "").replace("\x1b[31m", ""))


def test_a_host_cannot_style_what_it_says(printed: list[str]) -> None:
    logger.info("\x1b[32mSuccess\x1b[0m")
    assert printed == [r"    \x1b[32mSuccess\x1b[0m"]


def test_output_of_a_command_is_shown(printed: list[str], fleet: Callable[[str], Fleet]) -> None:
    fleet("local").run("--dry")
    (host,) = state().inventory
    printed.clear()
    util.print_host_combined_output(host, CommandOutput([OutputLine(each, HOSTILE) for each in ("stdout", "stderr")]))
    output.echo(f"live {HOSTILE}")
    assert [shown(HOSTILE) in told for told in printed] == [True] * 3
    assert not any(each in told for told in printed for each in ("\x07", "\r", "\u202e", "\x9b"))


def test_a_note_and_a_refusal_are_shown(fleet: Callable[[str], Fleet], capsys: Any) -> None:
    hosts = fleet("local")
    release = ["RELEASE=regular file", f'PRETTY_NAME="{HOSTILE[:20]}"', "ID=x"]
    hosts.answers["local"] = {"uname -s": ["KERNEL=Linux", "USER_ID=0", *release]}
    assert hosts.run("-y").exit_code == 1
    told = capsys.readouterr()
    assert r"\x1b]0;title\x07" in told.err and "\x07" not in told.err
    assert str(PreflightError(HOSTILE)) == shown(HOSTILE)


def test_the_differences_of_a_plan_are_shown(fleet: Callable[[str], Fleet]) -> None:
    hosts = fleet("production")
    hosts.deploy_already()
    name = "db1.example.com"
    hosts.answers[name] = {**hosts.answers[name], "--overdue": [f"daily\tmedaction: {HOSTILE[:-6]}"]}
    sentences = [each for step in hosts.run("--dry").steps for each in step.differences]
    assert sentences == [f"medaction: {shown(HOSTILE[:-6])}"] and commands()


def test_lines_break_where_pyinfra_breaks_them() -> None:
    assert line("a\nb\rc") == "a\nb\\rc"


NOBODY_ANSWERS = """
import sys
from pathlib import Path
from provision.__main__ import main
from provision.engine import environments

environments.INVENTORIES = Path(sys.argv.pop())
sys.exit(main())
"""


@pytest.mark.parametrize("command", [["status"], ["recover", "--host", "db1"]], ids=lambda words: words[0])
def test_colours_are_for_a_terminal_alone(command: list[str], tmp_path: Path) -> None:
    host = '("db1", {"ssh_hostname": "127.0.0.1", "ssh_port": 1})'
    (tmp_path / "test.py").write_text(f"backup = [{host}]\nvault = [{host.replace('db1', 'vault1')}]\n")
    (tmp_path / "group_data").mkdir()
    secrets = "".join(
        f"{name}_password = 'env:PATH'\n" for name in ("redis", "redis_operator", "postgres", "postgres_backup")
    )
    (tmp_path / "group_data/all.py").write_text(f'redis_host = postgres_host = "10.0.0.5"\n{secrets}')
    done = subprocess.run([sys.executable, "-c", NOBODY_ANSWERS, *command, "--env", "test", str(tmp_path)],
                          capture_output=True, text=True, cwd=PROJECT)  # fmt: skip
    assert done.returncode != 0 and "Unable to connect to port 1" in done.stderr, done
    assert "\x1b" not in done.stderr + done.stdout
