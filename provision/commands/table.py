"""A table that fits the terminal (80 columns where there is none), or says less."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from provision.engine.shown import shown

_BETWEEN = 2


def show(rows: Sequence[Mapping[str, str]], columns: Sequence[str], dispensable: Sequence[str], more: str = "") -> None:
    """Print rows with these columns, what hosts said in them shown. Where they do not fit, the dispensable ones go, the
    first first; `more` then says where they are to be had."""
    console = Console(highlight=False, markup=False, emoji=False)
    rows = [{column: shown(row[column]) for column in columns} for row in rows]
    kept, left_out = list(columns), []
    for column in dispensable:
        if _width(rows, kept) > console.width:
            kept.remove(column)
            left_out.append(column)
    table = Table(box=None, pad_edge=False, padding=(0, _BETWEEN, 0, 0), header_style="")
    for column in kept:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(row[column] for column in kept))
    console.print(table)
    if left_out and more:
        console.print(f"without {', '.join(left_out)}: {more}", soft_wrap=True)


def _width(rows: Sequence[Mapping[str, str]], columns: Sequence[str]) -> int:
    widths = [max([cell_len(column), *(cell_len(row[column]) for row in rows)]) for column in columns]
    return sum(widths) + _BETWEEN * (len(widths) - 1)
