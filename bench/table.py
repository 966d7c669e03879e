"""A table that can stand in docs/benchmarks.md as it is."""

from __future__ import annotations

from collections.abc import Sequence


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Given rows, the head first, return them as Markdown with the columns in line."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [rows[0], ["-" * width for width in widths], *rows[1:]]
    return "\n".join("| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines)


def aim(what: str, seen: float, wanted: str, reached: bool) -> str:
    return f"  {what}: {seen:.2f} (aim: {wanted}; {'reached' if reached else 'NOT reached'})"
