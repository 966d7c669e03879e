"""The figures, as a table that can stand in docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from bench.table import markdown

AIMS = "Aims: first, Ansible / project at least 4; nothing to do, at least 20, and project / bare at most 2."


@dataclass(frozen=True)
class Row:
    """One size and kind of run: each contestant's seconds, turn by turn."""

    hosts: int
    kind: str
    project: Sequence[float]
    ansible: Sequence[float]
    bare: Sequence[float] = ()

    @property
    def cells(self) -> list[str]:
        # A first deploy waits for apt and the disk, which only ever add: the quickest is the tool's own time.
        typical = min if self.kind == "first" else median
        runs = (self.project, self.ansible, self.bare)
        times = [f"{typical(seconds):.2f} s" if seconds else "" for seconds in runs]
        ratios = [_ratio(self.ansible, self.project, typical), _ratio(self.project, self.bare, typical)]
        return [str(self.hosts), self.kind, *times, *ratios]


def table(rows: Sequence[Row], project: str, ansible: str, bare: str) -> str:
    """The rows as Markdown."""
    head = ["hosts", "deploy", project, ansible, bare, "Ansible / project", "project / bare"]
    return markdown([head, *(row.cells for row in rows)])


def _ratio(over: Sequence[float], under: Sequence[float], typical: Callable[..., float]) -> str:
    if not over or not under:
        return ""
    if typical is min:
        return f"{min(over) / min(under):.1f}"
    return f"{median(one / other for one, other in zip(over, under, strict=True)):.1f}"
