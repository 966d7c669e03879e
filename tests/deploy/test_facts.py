"""A host whose answer is none, or comes after a login banner: every question that we have."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

import pytest
from pyinfra.api import FactBase
from pyinfra.api.exceptions import FactProcessError

import provision
from provision.debian.files import Paths
from provision.engine.facts import MARK, Fact
from provision.windows.facts import _Script
from tests.deploy.fake import UNMARKED, Answers, Fleet

BANNER = ["Welcome to the server", "KERNEL=Windows", "one\ttwo\tthree", "", "now=never", "0"]
RUBBISH = ["Segmentation fault", "a\tb\tc\td\te\tf\tg", "\x00\xff", "x" * 500]


def every_fact() -> list[type[Fact[Any]]]:
    for module in pkgutil.walk_packages(provision.__path__, "provision."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found: list[type[Fact[Any]]] = []
    unseen: list[Any] = [FactBase]
    while unseen:
        for each in unseen.pop().__subclasses__():
            unseen.append(each)
            if each.__module__.startswith("provision.") and not each.__dict__.get("abstract"):
                found.append(each)
    return found


FACTS = every_fact()
# What a host answers, where that is not the empty answer.
ANSWERS = {
    "Platform": ["KERNEL=Linux", "USER_ID=0", "RELEASE=regular file", "ID=debian"],
    "Packages": ["cron installed"],
    "Paths": ["regular file\t644\troot\troot\t/etc/x", f"{'0' * 64}  /etc/x"],
    "Steps": ["directory\t755\troot\troot\t/etc\t"],
    "GroupsOf": ["medaction", "docker"],
    "SourcesNaming": ["/etc/apt/sources.list"],
    "ClientMajors": ["15", "17"],
    "DumpRoleReason": ["password authentication failed"],
    "DumpRole": ["started=1764100000.123456", "lacks=there is no role medaction_backup"],
    "Redis": ["OK", "--8<--", "port", "1", "--8<--", "user default off"],
    "Keys": ["OK", "12"],
    "Unlocked": ["OK", "1"],
    "GroupExists": ["yes"],
    "SshdLoaded": ["yes"],
    "UnitStates": ["Id=x.timer", "ActiveState=active", "UnitFileState=enabled", "NeedDaemonReload=no"],
    "Due": ["never ran"],
    "Warnings": ["s3:bucket: it keeps no versions"],
    "PublicKeys": ["age=age1xyz", "host=ssh-ed25519 AAAA"],
    "VaultReport": ['{"host": "db1", "database": "medaction", "proven_hours": 3}'],
    "BrokenAof": ["broken 12 3400"],
    "Knocks": ["route 10.0.0.5 10.0.0.11", "said -WRONGPASS"],
    "RedisVisitors": ["a,b", "OK", "id=1 addr=10.0.0.11:4000 user=x", "--8<--"],
    "FirewallBefore": ["host app1 10.0.0.11", "up"],
    "HasFirewall": ["yes"],
    "FirewallUnlike": ["table"],
    "UnitUnlike": ["old"],
    "ExporterSilence": ["nothing answers at 127.0.0.1:9121"],
    "RedisSite": ["address 127.0.0.1", "conf ours"],
    "Lists": ["{}", "==journal==", "a line"],
    "LastDone": ['{"time": "2026-11-26T02:10:00Z", "who": "a@b", "what": "deploy", "result": "ok"}'],
    "Removable": ["redis-server"],
    "Tables": ["table inet medaction-redis"],
    "Keeps": ["process 12"],
    "Remains": ["/opt/medaction\t3\t1000\t.env"],
    "UnreadUnits": ["yes"],
    "Unread": ["no", "", "yes"],
    "ScriptUse": ["granted", "watched 4 3 2 1"],
    "Container": ["is running redis ab", "wanted redis ab"],
    "OtherBackups": ["/var/spool/cron/crontabs/root\t3\t0 2 * * *\tbackup-database.sh"],
    "BackupsDue": ["daily\tthere is none"],
    "BackupReport": ["now=2026-06-14T04:00:00"],
    "DumpsIn": ["12", "3000000"],
    "RoomForTests": ["1000000 2000000 medaction_2026-06-14_02-00-00.sql.gz"],
}
# These take what they do not know for "it does not say": a script that somebody has broken must not keep a deploy
# from mending it, a Redis may be anybody's, and a group may have any name.
LENIENT = {
    "LastDone", "DumpRoleReason", "BackupsDue", "Redis", "Keys", "GroupsOf", "Unlocked", "Due", "RedisVisitors",
    "Warnings",
}  # fmt: skip
SHELLS = [fact for fact in FACTS if not issubclass(fact, _Script)]


def name_of(fact: type[Fact[Any]]) -> str:
    return fact.__name__


def test_every_question_of_ours_is_one_of_these() -> None:
    assert len(FACTS) > 15 and all(issubclass(fact, Fact) for fact in FACTS)
    assert {fact.__name__ for fact in SHELLS} == set(ANSWERS)


@pytest.mark.parametrize("fact", FACTS, ids=name_of)
@pytest.mark.parametrize("output", [[], BANNER, RUBBISH], ids=["nothing", "banner", "rubbish"])
def test_output_without_an_answer_is_a_failed_host_and_not_repeated(fact: type[Fact[Any]], output: list[str]) -> None:
    with pytest.raises(FactProcessError) as error:
        fact().process(output)
    assert issubclass(fact, _Script) or not any(line and line in str(error.value) for line in output if line != "0")


@pytest.mark.parametrize("fact", SHELLS, ids=name_of)
def test_a_login_banner_shifts_nothing(fact: type[Fact[Any]]) -> None:
    answer = [MARK, *ANSWERS[fact.__name__]]
    assert fact().process([*BANNER, *answer]) == fact().process(answer) != fact.default()


@pytest.mark.parametrize("fact", [fact for fact in SHELLS if fact.__name__ not in LENIENT], ids=name_of)
def test_rubbish_in_an_answer_is_a_failed_host(fact: type[Fact[Any]]) -> None:
    with pytest.raises(FactProcessError, match="cannot be read"):
        fact().process([MARK, *RUBBISH])


@pytest.mark.parametrize("fact", [fact for fact in SHELLS if fact.__name__ in LENIENT], ids=name_of)
def test_rubbish_is_no_exception_where_anything_may_be_said(fact: type[Fact[Any]]) -> None:
    fact().process([MARK, *RUBBISH])


def without(question: str, answers: Answers) -> Answers:
    return {key: value for key, value in answers.items() if question not in key}


QUESTIONS = ["uname -s", "redis/existing.sh", "dpkg-query", "stat $1 --printf", "id -nG"]


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("output", [BANNER, RUBBISH], ids=["banner", "rubbish"])
def test_one_odd_host_is_one_failed_host_with_a_sentence(
    question: str, output: list[str], fleet: Callable[[str], Fleet], caplog: pytest.LogCaptureFixture
) -> None:
    hosts = fleet("production")
    odd = "redis1.example.com" if "redis" in question else "app2.example.com"
    hosts.answers[odd] = {question: [UNMARKED, *output], **without(question, hosts.answers[odd])}
    outcome = hosts.run("-y")
    assert outcome.exit_code == 1 and outcome.failed_hosts == (hosts.shown(odd),)
    others = [name for name in hosts.hosts if name != odd]
    assert others and all(hosts.steps(outcome, name) for name in others)
    assert not any(step.failed for step in outcome.steps if step.host != hosts.shown(odd))
    assert odd in caplog.text and "could not process fact" in caplog.text and "Traceback" not in caplog.text


def test_an_exception_of_any_kind_in_reading_is_one_failed_host(
    fleet: Callable[[str], Fleet], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    read, odd = Paths.read, "/opt/odd"

    def broken(self: Paths, lines: list[str]) -> Any:
        if any(odd in line for line in lines):
            raise RecursionError("whatever")
        return read(self, lines)

    monkeypatch.setattr(Paths, "read", broken)
    hosts = fleet("production")
    hosts.answers["app2.example.com"] = {"stat $1 --printf": f"directory\t755\tr\tr\t{odd}",
                                         **hosts.answers["app2.example.com"]}  # fmt: skip
    outcome = hosts.run("-y")
    assert outcome.failed_hosts == ("@fake/app2.example.com",) and "RecursionError" in caplog.text


def test_the_only_host_that_is_odd_ends_the_run_with_its_sentence(
    fleet: Callable[[str], Fleet], caplog: pytest.LogCaptureFixture
) -> None:
    hosts = fleet("local")
    hosts.answers["local"] = {"uname -s": [UNMARKED, *RUBBISH], **without("uname -s", hosts.answers["local"])}
    outcome = hosts.run("-y")
    assert outcome.exit_code == 1 and outcome.failed_hosts == ("@fake/local",)
    assert "printed 4 line(s) and no answer" in caplog.text
