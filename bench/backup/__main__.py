"""`python -m bench.backup [--quick]`: measure, print the tables, remove the host."""

from __future__ import annotations

import sys

from bench import command, machine, memory, say
from bench.backup import contestants, host, report
from bench.backup.contestants import Contestant

SCALE = 17  # times the sandbox's sample data: over 1 GB of rows
TURNS = 3


def main(quick: bool) -> None:
    compare(1, 1) if quick else compare(SCALE, TURNS)


def compare(scale: int, turns: int) -> None:
    """Measure on this many times the sample data; print the tables."""
    described = machine.description()
    host.prepare(scale)
    settings = host.settings()
    contestants.place(settings)
    size = int(host.postgres(host.SOURCE, f"SELECT pg_database_size('{host.SOURCE}')"))
    say(f"the database has {size / 1e9:.2f} GB")
    dumping, restoring = contestants.dumps(settings), contestants.restores(settings)
    host.run(dumping[0].timed)  # once for nobody: what comes from the disk once is in the page cache now
    dumps = measure(dumping, turns)
    restores = measure(restoring, turns)
    uid = int(host.run(f"id -u {settings.backup_user}"))
    peak = memory.together(host.CONTAINER, uid, lambda: host.run(f"{settings.app_dir}/scripts/backup-database.sh"))
    print(f"\n{described}; a database of {size / 1e9:.2f} GB\n")
    print(report.table(dumps, dumping[0].name) + "\n")
    print(report.table(restores, restoring[0].name) + "\n")
    print(report.aims(dumps, restores, peak))


def measure(contenders: list[Contestant], turns: int) -> report.Rows:
    """Let each run once a turn."""
    rows = {each.name: report.Row(each.name) for each in contenders}
    for turn in range(1, turns + 1):
        for each in contenders:
            host.run(f"cd /; {each.before or 'true'}")
            seconds = host.seconds_of(f"cd /; {each.timed}")
            rows[each.name].seconds.append(seconds)
            say(f"turn {turn}: {each.name}: {seconds:.2f} s")
            if each.stored:
                rows[each.name].stored = host.bytes_in(each.stored)
    return rows


if __name__ == "__main__":
    sys.exit(command.run("backup", "a small database, one turn", main, host.remove))
