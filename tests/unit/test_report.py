"""The report's page: what is on it, what stood there before, and what hosts that mean ill make of it."""

from __future__ import annotations

import dataclasses
import json
import os
import stat
from argparse import Namespace
from collections.abc import Callable
from datetime import datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from provision.backup.facts import BackupReport, Report
from provision.commands import pictures, report, since, status
from provision.commands.health import Health
from tests.report import trouble

Run = Callable[..., int]
DATA = '<script type="application/json" id="status">{}</script>'


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Run:
    def run(out: Path | str, healths: list[Health], env: str = "production") -> int:
        monkeypatch.setattr(status, "fleet", lambda *_: healths)
        return report.run(Namespace(env=env, out=str(out), limit="", skip=""))

    return run


class _Elements(HTMLParser):
    """Every element with its attributes, and the text outside of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    @override
    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1][0] not in ("script", "style"):
            self.text += data


def shape(text: str) -> list[tuple[str, tuple[str, ...]]]:
    """Which elements with which attributes' names, whatever is written in them."""
    return [(tag, tuple(attributes)) for tag, attributes in _Elements(text).elements]


def test_exit_code_is_that_of_status_and_the_page_is_its_makers_alone(make: Run, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "report.html"
    os.umask(0o022)
    healths = trouble.fleet()
    assert make(out, healths) == 3 and stat.S_IMODE(out.stat().st_mode) == 0o600
    assert capsys.readouterr().out == f"{out}: 8 hosts: 2 NO ANSWER, 3 CRITICAL, 3 ok\n"
    assert [make(out, [each]) for each in (healths[2], healths[5])] == [2, 0]


def test_the_next_one_tells_what_changed_since(make: Run, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    well = trouble.fleet()[5]
    before = [trouble.fleet()[0], dataclasses.replace(well, done=())]
    make(out, before)
    assert "This is the first one" in out.read_text()
    asked = report.last(out, "production")["asked"]  # type: ignore[index]
    make(out, [dataclasses.replace(trouble.fleet()[0], lost="", redis="DOWN"), well])
    text = _Elements(out.read_text()).text
    assert f"Changed since {asked}" in text
    assert "app2: CRITICAL, it was NO ANSWER" in text and "app2, new: Redis is down" in text
    assert "app2, no more: could not be asked: gave no sign of life" in text
    assert "db2 medaction: no newer good backup was made" in text


def later(health: Health, **changed: Any) -> dict[str, Any]:
    (host,) = status.document("production", [dataclasses.replace(health, **changed)])["hosts"]
    return {"version": 1, "environment": "production", "hosts": [host]}


def of(manifests: list[dict[str, Any]], tests: tuple[dict[str, Any], ...] = ()) -> Report:
    return Report(trouble.NOW, (), tests, {"daily": tuple(manifests)})


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (of(trouble.nights(3, late=1)), of(trouble.nights(3)), []),
        (of(trouble.nights(3)), of(trouble.nights(3)), ["db1 medaction: no newer good backup was made"]),
        (of([trouble.dump(trouble.NOW, bytes=1000)]), of([trouble.dump(trouble.NOW + timedelta(days=1), bytes=3000)]),
         ["db1 medaction: its dumps grew by 200 %"]),
        (of([trouble.dump(trouble.NOW, bytes=0)]), of([trouble.dump(trouble.NOW + timedelta(days=1), bytes=3000)]), []),
        (of(trouble.nights(3, late=1)), of(trouble.nights(3), (trouble.tested("medaction", "ok"),)),
         ["db1 medaction: restored as a test: ok"]),
        (of(trouble.nights(3, late=1)), of([*trouble.nights(3), *trouble.nights(1, "archive")]),
         ["db1 archive: was not there"]),
        (of([*trouble.nights(3, late=1), *trouble.nights(1, "archive")]), of(trouble.nights(3)),
         ["db1 archive: has no backups any more"]),
    ],
)  # fmt: skip
def test_changes_of_a_database_are_told_and_a_night_like_any_other_is_not(
    old: Report, new: Report, told: list[str]
) -> None:
    health = Health(trouble.member("db1", "backup", backup_databases="all"), report=old)
    changes = since.changes(later(health), later(health, report=new))
    assert [each for each in changes if each.startswith(("db1 medaction:", "db1 archive:"))] == told


HOSTILE = trouble.HOSTILE
ODD = [None, True, -1, 1.5, float("nan"), float("inf"), 10**400, "", "x", HOSTILE, [], {}, [None], [[]], {"a": 1},
       [{"host": "db1"}], [{"host": "db1", "findings": [{}], "backups": [{"database": 1}]}]]  # fmt: skip


def _replaced(value: Any, chance: Any) -> Any:
    if chance.random() < 0.15:
        return chance.choice(ODD)
    if isinstance(value, dict):
        return {key: _replaced(each, chance) for key, each in value.items()}
    return [_replaced(each, chance) for each in value] if isinstance(value, list) else value


def test_whatever_a_page_that_stands_there_says_the_next_one_is_made(make: Run, tmp_path: Path, chance: Any) -> None:
    out, now = tmp_path / "report.html", status.document("production", trouble.fleet())
    for number in range(200):
        odd = {key: _replaced(each, chance) for key, each in now.items()} | {"version": 1, "environment": "production"}
        assert all(isinstance(each, str) for each in since.changes(odd, now))
        if number % 40 == 0:
            out.write_text(DATA.format(report._embedded(odd)))
            assert make(out, trouble.fleet()) == 3
            assert shape(out.read_text()).count(("script", ("type", "id"))) == 1


def _a_link(path: Path) -> None:
    path.with_name("mine").write_text("mine")
    path.symlink_to("mine")


@pytest.mark.parametrize(
    ("there", "why"),
    [
        (lambda path: path.write_text("my notes"), "is no report of production"),
        (lambda path: path.write_bytes(b"\xff\xfe\x00"), "is no report of production"),
        (lambda path: path.mkdir(), "is no report of production"),
        (lambda path: os.mkfifo(path), "is no report of production"),
        (_a_link, "is no report of production"),
        (lambda path: path.write_text(DATA.format("[[")), "is no report of production"),
        (lambda path: path.write_text(DATA.format("[" * 100_000)), "is no report of production"),
        (lambda path: path.write_text(DATA.format('{"environment": "staging"}')), "is no report of production"),
    ],
)  # fmt: skip
def test_what_is_no_report_of_ours_is_not_overwritten(
    there: Callable[[Path], Any], why: str, make: Run, tmp_path: Path, capsys: Any
) -> None:
    out = tmp_path / "report.html"
    there(out)
    before = out.lstat()
    assert make(out, [], env="production") == 3
    assert why in capsys.readouterr().err and out.lstat() == before
    assert not (tmp_path / "mine").exists() or (tmp_path / "mine").read_text() == "mine"


@pytest.mark.parametrize("out", ["", "absent/report.html", "/dev/null/report.html"])
def test_where_it_goes_is_looked_at_before_any_host_is_asked(out: str, make: Run, capsys: Any) -> None:
    assert make(out, []) == 3
    assert "OUT=" in capsys.readouterr().err


def test_nothing_that_hosts_say_is_markup_or_unseen_or_ends_the_data() -> None:
    words = [
        HOSTILE,
        "</script><script>alert(1)</script>",
        "{{ 7777*7777 }}{% raw %}",
        "]]>-->",
        '" onload="x',
        "\x00\x7f\r\n\u2028",
    ]
    plain = report.page("production", _told_by("plain"), None)
    for word in words:
        text = report.page("production", _told_by(word), None)
        assert shape(text) == shape(plain), word
        body = text.replace("\n", "")
        assert all(each.isprintable() for each in body), word
        assert str(7777 * 7777) not in text
        embedded = report._DATA.findall(text)
        assert len(embedded) == 1 and json.loads(embedded[0])["environment"] == "production"


def _told_by(word: str) -> list[Health]:
    """One host that says this word wherever it may say one."""
    name = word[:90]
    told = BackupReport().read([
        f"now={trouble.NOW.isoformat()}",
        *(f"daily={json.dumps(trouble.dump(trouble.NOW, name, suspect=word))}" for _ in range(2)),
        f"status={json.dumps(trouble.run(name, 'failed', word) | {'tier': word})}",
        f"restore-test={json.dumps(trouble.tested(name, 'failed', message=word) | {'dump': word})}",
    ])  # fmt: skip
    info = dict.fromkeys(trouble.INFO, word)
    done = (trouble.done("2026-06-15T09:30:00Z", word, word, word, database=word),)
    first = Health(
        trouble.member("db1", "backup", "redis", backup_databases="all"), redis=word, redis_info=info, report=told
    )
    return [Health(trouble.member("app1", "app"), lost=word), dataclasses.replace(first, done=done)]


def test_no_secret_is_on_it() -> None:
    text = report.page("production", trouble.fleet(), None)
    assert "zq-" not in text and "zq-" in trouble.settings().postgres_password.get_secret_value()


@pytest.mark.parametrize("allowed", [1, 26, 10**12])
@pytest.mark.parametrize("made", [
    [], [trouble.NOW], [datetime(1000, 1, 1)], [datetime(9999, 12, 31, 23, 59, 59)], [trouble.NOW] * 3,
    [trouble.NOW - timedelta(days=day) for day in range(2000)],
])  # fmt: skip
def test_every_point_lies_in_its_picture(made: list[datetime], allowed: int) -> None:
    names = [trouble.dump(each, seconds=number) for number, each in enumerate(made)]
    kept = pictures.dumps("medaction", of(names))
    for picture in pictures.of(kept, trouble.NOW, allowed, status.size):
        assert all(0 <= x <= pictures.WIDTH and 0 <= y <= pictures.HEIGHT for x, y, _ in picture.points)
        assert picture.allowed_from is None or 0 <= picture.allowed_from <= pictures.WIDTH
        assert len(picture.points) == min(len(set(made)), 400)


@pytest.mark.parametrize("seconds", [None, True, -1, "12", 1.5, 2**80])
def test_a_duration_that_is_none_is_left_out(seconds: object) -> None:
    kept = pictures.dumps("medaction", of([trouble.dump(trouble.NOW, seconds=seconds)]))
    assert [each.name for each in pictures.of(kept, trouble.NOW, 26, status.size)] == ["Size", "Age"]


def test_a_year_of_twenty_databases_is_a_page_of_a_few_megabytes() -> None:
    manifests = [each for number in range(20) for each in trouble.nights(365, f"db{number}")]
    health = Health(trouble.member("db1", "backup", backup_databases="all"), report=of(manifests))
    assert len(report.page("production", [health], None)) < 4_000_000
