"""The alert rules in Debian's own Prometheus, which asks its node_exporter what write-metrics.sh has written."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from provision.settings.render import FILES
from tests.limiter.redis_server import free_port

from .cluster import Cluster
from .conftest import new_host
from .host import Host, until
from .test_metrics import given_metrics
from .unprivileged import AS_ROOT

pytestmark = pytest.mark.skipif(not AS_ROOT, reason="root writes the metrics, and has the backup user say them")

RULES = FILES / "backup/prometheus-alerts.yml"


class Prometheus:
    """One that looks at a host four times a second. It has the rules twice: as they are, and in a copy that waits no
    quarter of an hour. So an alert is `pending` by the ones as soon as it is `firing` by the others."""

    def __init__(self, programs: Path, directory: Path, metrics: Path) -> None:
        self._address, exporter = (f"127.0.0.1:{free_port()}" for _ in range(2))
        shutil.copy(RULES, directory)
        (directory / "without-waiting.yml").write_text(re.sub(r"for: \w+", "for: 0s", RULES.read_text()))
        configuration = directory / "prometheus.yml"
        configuration.write_text(f"""
global: {{ scrape_interval: 250ms, evaluation_interval: 250ms }}
rule_files: [{RULES.name}, without-waiting.yml]
scrape_configs: [{{ job_name: hosts, static_configs: [{{ targets: ["{exporter}"] }}] }}]
""")
        self._processes = [
            subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            for argv in (
                [
                    programs / "prometheus-node-exporter", f"--web.listen-address={exporter}",
                    "--collector.disable-defaults", "--collector.textfile", f"--collector.textfile.directory={metrics}",
                ],
                [
                    programs / "prometheus", f"--config.file={configuration}", f"--storage.tsdb.path={directory}/data",
                    f"--web.listen-address={self._address}",
                ],
            )
        ]  # fmt: skip

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    def ask(self, what: str, **query: str) -> Any:
        try:
            with urlopen(f"http://{self._address}/api/v1/{what}?{urlencode(query)}", timeout=5) as answer:
                return json.load(answer)["data"]
        except OSError:
            return {}  # not up yet

    def value(self, series: str) -> float | None:
        found = self.ask("query", query=series).get("result")
        return float(found[0]["value"][1]) if found else None

    def alerts(self, state: str = "firing") -> dict[str, Any]:
        """What is in this state, by name."""
        return {each["labels"]["alertname"]: each for each in self.ask("alerts")["alerts"] if each["state"] == state}

    def is_quiet(self) -> bool:
        """No alert of any kind, once every rule was asked of what was there at this call."""
        now = datetime.now(UTC)
        until(lambda: all(each > now for each in self._evaluated()), "each rule was asked")
        return not self.ask("alerts")["alerts"]

    def _evaluated(self) -> list[datetime]:
        groups = self.ask("rules")["groups"]
        return [datetime.fromisoformat(rule["lastEvaluation"]) for group in groups for rule in group["rules"]]


@pytest.fixture(scope="module")
def watched(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host with a good dump, whose metrics are where node_exporter reads them."""
    with new_host(cluster) as host:
        given_metrics(host, tmp_path_factory.mktemp("node-exporter")).good_backup()
        tell(host)
        yield host


@pytest.fixture(scope="module")
def watcher(watched: Host, prometheus: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    metrics = Path(watched.settings.backup_metrics_dir)
    server = Prometheus(prometheus, tmp_path_factory.mktemp("prometheus"), metrics)
    try:
        until(lambda: server.value("backup_newest_timestamp_seconds"), "the night is seen")
        yield server
    finally:
        server.stop()


def tell(host: Host) -> Path:
    """What cron does every five minutes; return the file."""
    done = host.run("../../programs/write-metrics.sh", as_root=True)
    assert done.returncode == 0, done.stderr
    return Path(host.settings.backup_metrics_dir, "medaction-backup.prom")


def lose_a_night(host: Host) -> float:
    """Make the dumps older, as if there had been none since; return when the newest was begun then."""
    begun = []
    for manifest in host.backups.glob("*.sql.gz.json"):
        whole = json.loads(manifest.read_text())
        begun.append(datetime.fromisoformat(whole["started"]) - timedelta(hours=31))
        manifest.write_text(json.dumps({**whole, "started": begun[-1].strftime("%Y-%m-%dT%H:%M:%SZ")}))
    return max(begun).timestamp()


def test_alert_fires_when_a_night_is_missing_and_goes_when_it_is_back(watched: Host, watcher: Prometheus) -> None:
    began = watcher.value("backup_newest_timestamp_seconds")
    until(watcher.is_quiet, "all is well")
    older = lose_a_night(watched)
    tell(watched)
    until(lambda: watcher.alerts() and watcher.alerts("pending"), "an alert fires")
    assert watcher.value("backup_newest_timestamp_seconds") == older < began - 30 * 3600
    (alert,) = watcher.alerts().values()
    assert (alert["labels"]["alertname"], alert["labels"]["severity"]) == ("BackupMissing", "critical")
    summary = rf"{watched.database} on 127\.0\.0\.1:\d+ has had no good backup for 1d 7h \d+m \d+s"
    assert re.fullmatch(summary, alert["annotations"]["summary"])
    assert list(watcher.alerts("pending")) == ["BackupMissing"]
    watched.good_backup()
    tell(watched)
    until(watcher.is_quiet, "it is quiet again")


@pytest.mark.fault
def test_file_that_cannot_be_read_fires_and_nothing_is_told_until_it_is_mended(
    watched: Host, watcher: Prometheus
) -> None:
    until(watcher.is_quiet, "all is well")
    torn = tell(watched)
    torn.write_text(torn.read_text().rstrip("\n"))  # node_exporter drops all of it
    expected = {"BackupMetricsStale": "warning", "BackupNotTold": "critical"}
    until(lambda: len(watcher.alerts()) == len(expected), "both fire")
    assert {name: each["labels"]["severity"] for name, each in watcher.alerts().items()} == expected
    tell(watched)
    until(watcher.is_quiet, "it is quiet again")
