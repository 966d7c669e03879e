"""What Prometheus is told of the backups, read back by Prometheus' own tool."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from provision.backup import layout
from provision.settings.render import FILES

from .cluster import ROLE, Cluster
from .conftest import new_host
from .host import Host

RULES = FILES / "backup/prometheus-alerts.yml"
REDIS_RULES = FILES / "redis/prometheus-alerts.yml"


@pytest.fixture(scope="session")
def promtool(prometheus: Path) -> str:
    return str(prometheus / "promtool")


@pytest.fixture
def watched(host: Host) -> Host:
    return given_metrics(host, host.directory)


@pytest.fixture(scope="module")
def backed_up(cluster: Cluster) -> Iterator[Host]:
    """A host with a good dump, for tests that change no more than a file beside it."""
    with new_host(cluster) as host:
        given_metrics(host, host.directory).good_backup()
        yield host


def given_metrics(host: Host, directory: Path) -> Host:
    """A host whose metrics are for this directory."""
    host.configure(backup_metrics_dir=str(directory))
    for file in layout.metrics(host.settings):
        if not file.path.startswith("/etc/"):
            host.place(file.content, Path(file.path), file.mode)
    return host


def printed(host: Host) -> str:
    done = host.run("../../programs/write-metrics.sh", "--print")
    assert done.returncode == 0, done.stderr
    return done.stdout


def value(text: str, name: str, **labels: str) -> float:
    """A series' value, found by its name and some of its labels."""
    found = [
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith(f"{name}{{") and all(f'{key}="{wanted}"' in line for key, wanted in labels.items())
    ]
    assert len(found) == 1, f"{name} {labels}: {found} in\n{text}"
    return found[0]


def test_prometheus_own_tool_has_no_remark_on_them(watched: Host, promtool: str) -> None:
    watched.good_backup()
    watched.good_backup("--tier", "weekly")
    done = subprocess.run(
        [promtool, "check", "metrics"], input=printed(watched), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_figures_are_those_of_the_newest_dump(watched: Host) -> None:
    watched.good_backup()
    dump = watched.good_backup()
    text = printed(watched)
    assert value(text, "backup_newest_bytes", tier="daily") == dump.stat().st_size
    assert abs(value(text, "backup_newest_timestamp_seconds", tier="daily") - dump.stat().st_mtime) < 10
    assert value(text, "backup_kept", tier="daily") == 2
    assert value(text, "backup_last_run_failed", tier="daily") == 0
    dump.unlink()
    left = printed(watched)
    assert value(left, "backup_kept", tier="daily") == 1
    newest, before = (value(each, "backup_newest_timestamp_seconds", tier="daily") for each in (left, text))
    assert newest < before, "whoever deletes a dump leaves its manifest"


def test_failed_run_is_told_and_the_good_dump_stays_told(watched: Host) -> None:
    watched.good_backup()
    watched.configure(backup_metrics_dir=str(watched.directory), postgres_port=1)
    assert watched.backup().returncode == 1
    text = printed(watched)
    assert value(text, "backup_last_run_failed", tier="daily") == 1
    assert value(text, "backup_kept", tier="daily") == 1


@pytest.mark.fault
@pytest.mark.parametrize(
    "content",
    [
        "",
        "x",
        "[]",
        "{",
        '{"database": 7}',
        '{"database": "a", "started": "yesterday", "bytes": "many"}',
        "\x1b[31m",
        "9" * 70,
    ],
)
def test_damaged_manifest_takes_nothing_else_away(content: str, backed_up: Host, promtool: str) -> None:
    damaged = backed_up.backups / "medaction_2026-01-01_02-00-00.sql.gz.json"
    damaged.unlink(missing_ok=True)
    before = {line for line in printed(backed_up).splitlines() if "backup_kept" not in line}
    damaged.with_suffix("").touch()
    damaged.write_text(content)
    after = printed(backed_up)
    assert before
    assert before <= set(after.splitlines())
    checked = subprocess.run([promtool, "check", "metrics"], input=after, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_what_a_vault_holds_is_told_whatever_a_captured_host_calls_its_databases(promtool: str) -> None:
    names = ["medaction", 'a"b\\c', "naïve é\n# HELP x", "}{="]
    told: list[dict[str, object]] = [
        {"host": "db1", "database": name, "proven_at": 1000 + number, "suspect": ""}
        for number, name in enumerate(names)
    ]
    told += [
        {"host": "db2", "database": "never", "proven_at": None, "suspect": ""},
        {"host": "db2", "database": "lost", "proven_at": 5, "suspect": "m_1.sql.gz"},
        {"source": "db1", "reached": 7, "alarms": 0},
        {"source": "db2", "reached": 0, "alarms": 2},
    ]
    program = FILES / "vault/vault-metrics.jq"
    done = subprocess.run(
        ["jq", "--null-input", "--raw-output", "--arg", "app", "medaction", "--from-file", program],
        input="".join(json.dumps(each) + "\n" for each in told), capture_output=True, text=True, check=True,
    )  # fmt: skip
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=done.stdout, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
    proven = [line for line in done.stdout.splitlines() if line.startswith("vault_newest_proven_timestamp_seconds{")]
    assert [float(line.rpartition(" ")[2]) for line in proven] == [1000, 1001, 1002, 1003, 5]
    assert value(done.stdout, "vault_newest_suspect", database="lost") == 1
    assert value(done.stdout, "vault_newest_suspect", database="never") == 0
    assert value(done.stdout, "vault_alarms", source="db2") == 2
    assert value(done.stdout, "vault_reached_timestamp_seconds", source="db1") == 7


def test_rules_are_valid_and_each_alert_fires_and_ends(promtool: str, tmp_path: Path) -> None:
    shutil.copy(RULES, tmp_path)
    labels = '{app="medaction",database="m",instance="db1",tier="daily"}'
    source = '{app="medaction",instance="vault1",source="db1"}'
    copies = source.replace("}", ',database="m"}')
    test = f"""
rule_files: [{RULES.name}]
evaluation_interval: 15m
tests:
  - interval: 5m
    # A backup at 0 h, none in the second night, one again at 40 h; what fails, fails from 20 h to 30 h.
    input_series:
      - series: 'backup_newest_timestamp_seconds{labels}'
        values: '0x479 144000x240'
      - series: 'backup_last_run_failed{labels}'
        values: '0x239 1x119 0x360'
      - series: 'backup_newest_suspect{labels}'
        values: '0x239 1x119 0x360'
      - series: 'backup_restore_test_failed{{app="medaction",database="m",instance="db1"}}'
        values: '0x239 1x119 0x360'
      - series: 'vault_newest_proven_timestamp_seconds{copies}'
        values: '0x479 144000x240'
      - series: 'vault_reached_timestamp_seconds{source}'
        values: '0x479 144000x240'
      - series: 'vault_alarms{source}'
        values: '0x239 1x119 0x360'
      - series: 'vault_newest_suspect{copies}'
        values: '0x239 1x119 0x360'
    promql_expr_test:
""" + "".join(
        f"""
      - expr: count(ALERTS{{alertname="{alert}",alertstate="firing"}}) > bool 0 or vector(0)
        eval_time: {at}
        exp_samples: [{{labels: '{{}}', value: {int(fires)}}}]"""
        for alert, at, fires in EXPECTED
    )
    (tmp_path / "test.yml").write_text(test)
    done = subprocess.run([promtool, "test", "rules", "test.yml"], cwd=tmp_path, capture_output=True, text=True)
    told = re.sub(r"exp:.*?got:", "got:", done.stdout + done.stderr)
    assert done.returncode == 0, told


EXPECTED = [
    ("BackupMissing", "29h", False),
    ("BackupMissing", "31h", True),
    ("BackupMissing", "41h", False),
    ("BackupFailed", "10h", False),
    ("BackupFailed", "25h", True),
    ("BackupFailed", "35h", False),
    ("BackupSuspect", "25h", True),
    ("BackupSuspect", "35h", False),
    ("RestoreTestFailed", "25h", True),
    ("RestoreTestFailed", "35h", False),
    ("BackupNotTold", "30h", False),
    ("BackupNotTold", "62h", True),
    ("OffsiteCopyStale", "29h", False),
    ("OffsiteCopyStale", "31h", True),
    ("OffsiteCopyStale", "41h", False),
    ("OffsiteSourceSilent", "29h", False),
    ("OffsiteSourceSilent", "31h", True),
    ("OffsiteSourceSilent", "41h", False),
    ("OffsiteAlarm", "10h", False),
    ("OffsiteAlarm", "25h", True),
    ("OffsiteCopySuspect", "25h", True),
    ("OffsiteCopySuspect", "35h", False),
    ("OffsiteNotTold", "30h", False),
    ("OffsiteNotTold", "62h", True),
]


def test_alerts_of_redis_fire_and_end(promtool: str, tmp_path: Path) -> None:
    shutil.copy(REDIS_RULES, tmp_path)
    series = '{instance="redis1:9121"}'
    test = f"""
rule_files: [{REDIS_RULES.name}]
evaluation_interval: 1m
tests:
  - interval: 1m
    # Down from 1 h to 2 h, nothing told from 3 h to 4 h; full, refusing and unable to write from 5 h to 6 h.
    input_series:
      - series: 'redis_up{series}'
        values: '1x59 0x59 1x59 _x59 1x180'
      - series: 'redis_memory_max_bytes{series}'
        values: '100x420'
      - series: 'redis_memory_used_bytes{series}'
        values: '80x299 95x59 80x60'
      - series: 'redis_memory_used_bytes{{instance="unbounded"}}'
        values: '95x420'
      - series: 'redis_memory_max_bytes{{instance="unbounded"}}'
        values: '0x420'
      - series: 'redis_rejected_connections_total{series}'
        values: '3x299 3+1x59 63x60'
      - series: 'redis_aof_last_write_status{series}'
        values: '1x299 0x59 1x60'
    promql_expr_test:
""" + "".join(
        f"""
      - expr: count(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)
        eval_time: {at}
        exp_samples: [{{labels: '{{}}', value: {count}}}]"""
        for alert, at, count in OF_REDIS
    )
    (tmp_path / "test.yml").write_text(test)
    done = subprocess.run([promtool, "test", "rules", "test.yml"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, re.sub(r"exp:.*?got:", "got:", done.stdout + done.stderr)
    alerts = set(re.findall(r"alert: (\w+)", REDIS_RULES.read_text()))
    assert alerts == {alert for alert, _, count in OF_REDIS if count}


OF_REDIS = [
    ("RedisDown", "59m", 0),
    ("RedisDown", "1h30m", 1),
    ("RedisDown", "2h30m", 0),
    ("RedisNotTold", "2h30m", 0),
    ("RedisNotTold", "3h30m", 1),
    ("RedisNotTold", "4h30m", 0),
    ("RedisNearlyFull", "4h30m", 0),
    ("RedisNearlyFull", "5h30m", 1),
    ("RedisNearlyFull", "6h30m", 0),
    ("RedisRefusesConnections", "4h30m", 0),
    ("RedisRefusesConnections", "5h30m", 1),
    ("RedisRefusesConnections", "6h30m", 0),
    ("RedisCannotWrite", "4h30m", 0),
    ("RedisCannotWrite", "5h30m", 1),
    ("RedisCannotWrite", "6h30m", 0),
]


def test_accepted_dump_is_told_to_prometheus_as_good(host: Host) -> None:
    given_metrics(host, host.directory)
    host.cluster.ask(host.database, "CREATE TABLE many AS SELECT generate_series(1, 1000) n", user=ROLE)
    host.good_backup()
    host.cluster.ask(host.database, "TRUNCATE many")
    assert host.backup(before=("faketime", "-f", "+60s")).returncode == 0
    assert value(printed(host), "backup_newest_suspect", tier="daily") == 1
    assert host.backup("--accept", host.dumps()[-1]).returncode == 0
    assert value(printed(host), "backup_newest_suspect", tier="daily") == 0


def test_database_of_very_many_objects_is_told_to_prometheus(host: Host) -> None:
    given_metrics(host, host.directory)
    dump = host.good_backup()
    manifest = dump.with_name(f"{dump.name}.json")
    told = json.loads(manifest.read_text())
    told["content"]["objects"].update({f"column a_table_of_a_tenant.{i}": "0123456789ab" for i in range(50000)})
    manifest.write_text(json.dumps(told))
    assert manifest.stat().st_size > 2_000_000
    assert value(printed(host), "backup_newest_bytes", tier="daily") == dump.stat().st_size
