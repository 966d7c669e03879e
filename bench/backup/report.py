"""The figures as tables, and each aim beside what was seen."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

from bench.table import aim, markdown


@dataclass
class Row:
    """One contestant: its seconds turn by turn, and the bytes that it stored."""

    name: str
    seconds: list[float] = field(default_factory=list)
    stored: int = 0


Rows = dict[str, Row]


def table(rows: Rows, limit: str) -> str:
    """The rows as Markdown, each beside the contestant named `limit`."""
    head = ["", "seconds", f"times `{limit}`"]
    lines = [[row.name, f"{median(row.seconds):.2f}", f"{ratio(rows, row.name, limit):.2f}"] for row in rows.values()]
    if any(row.stored for row in rows.values()):
        head.append("MB stored")
        for line, row in zip(lines, rows.values(), strict=True):
            line.append(f"{row.stored / 1e6:.0f}" if row.stored else "")
    return markdown([head, *lines])


def ratio(rows: Rows, one: str, other: str) -> float:
    """The median of one contestant's seconds over another's, taken turn by turn."""
    pairs = zip(rows[one].seconds, rows[other].seconds, strict=True)
    return median(first / second for first, second in pairs)


def aims(dumps: Rows, restores: Rows, peak_bytes: int) -> str:
    """Every aim with its figure."""
    night = ratio(dumps, "script", "pg_dump >/dev/null")
    guide = ratio(dumps, "guide: pg_dump, gzip", "script")
    size = dumps["script"].stored / dumps["guide: pg_dump, gzip"].stored
    directory = ratio(dumps, "script, directory, 2 jobs", "pg_dump >/dev/null")
    back = {form: ratio(restores, "guide: gunzip, psql", f"script, {form}, 2 jobs") for form in ("directory", "custom")}
    best = max(back.values())
    megabytes = peak_bytes / 1e6
    lines = [
        aim("the script, times pg_dump >/dev/null", night, "at most 1.10", night <= 1.10),
        aim("the guide's pg_dump | gzip, times the script", guide, "at least 2", guide >= 2),
        aim("bytes, times the guide's", size, "at most 1", size <= 1),
        aim("directory with two jobs, times pg_dump >/dev/null", directory, "below 1", directory < 1),
        aim("the guide's gunzip | psql, times directory or custom with two jobs", best, "at least 1.5", best >= 1.5),
        aim("MB of memory that a backup takes at most", megabytes, "below 200", megabytes < 200),
    ]
    return "\n".join(lines)
