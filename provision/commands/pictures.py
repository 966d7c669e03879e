"""A database's kept dumps as pictures: how large each was, how long it took, how old it is. Pure: numbers to points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from provision.backup.facts import Report, made_at
from provision.commands.health import own, suspicion

WIDTH, HEIGHT, MARGIN = 240, 64, 4
_MOST, _FEW = 400, 60  # dumps: a year of nights; two months


@dataclass(frozen=True)
class Dump:
    """One that is kept, by its manifest."""

    made: datetime
    size: float  # bytes
    seconds: float | None  # how long it took; None: its manifest does not say
    is_good: bool


@dataclass(frozen=True)
class Picture:
    """Points, each where it lies and whether its dump is good; what they show, in words."""

    name: str
    words: str
    points: Sequence[tuple[float, float, bool]]
    allowed_from: float | None = None  # where the time begins in which one must have been made

    @property
    def line(self) -> str:
        return " ".join(f"{x},{y}" for x, y, _ in self.points)

    @property
    def dots(self) -> list[tuple[float, float]]:
        """The good ones, where they are few enough to be told apart; the last in any case."""
        good = [(x, y) for x, y, is_good in self.points if is_good]
        return good if len(good) <= _FEW else good[-1:]

    @property
    def suspects(self) -> list[tuple[float, float]]:
        return [(x, y) for x, y, is_good in self.points if not is_good]

    def strokes(self, *, good: bool) -> str:
        """An upright line for each of the good ones, or a longer one for each of the others."""
        top = 16 if good else 8
        return "".join(f"M{x} {top}V{HEIGHT - top}" for x, _, is_good in self.points if is_good is good)


def dumps(database: str, report: Report) -> list[Dump]:
    """Every one that is kept, in whatever tiers, the oldest first; of very many the newest."""
    manifests = {each["dump"]: each for tier in report.manifests.values() for each in own(database, tier)}
    found = [_dump(each, report) for each in manifests.values()]
    return sorted(found, key=lambda each: each.made)[-_MOST:]


def _dump(manifest: dict[str, Any], report: Report) -> Dump:
    made, seconds = made_at(manifest["dump"]), manifest.get("seconds")
    assert made is not None  # the Report holds no other
    is_known = isinstance(seconds, int) and not isinstance(seconds, bool) and 0 <= seconds < 2**31
    return Dump(made, manifest["bytes"], seconds if is_known else None, not suspicion(manifest, report))


def of(kept: Sequence[Dump], now: datetime, allowed_hours: int, in_bytes: Callable[[float], str]) -> list[Picture]:
    """What there is to be seen of them: nothing where none is kept."""
    if not kept:
        return []
    timed = [each for each in kept if each.seconds is not None]
    pictures = [_drawn("Size", kept, now, [each.size for each in kept], in_bytes)]
    if timed:
        pictures.append(_drawn("Duration", timed, now, [each.seconds or 0 for each in timed], in_time))
    return [*pictures, _ages(kept, now, allowed_hours)]


def _drawn(
    name: str, kept: Sequence[Dump], now: datetime, values: Sequence[float], in_words: Callable[[float], str]
) -> Picture:
    across, most = _across(kept, now), max(values) or 1
    points = [
        (across(_ago(dump.made, now)), round(HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * value / most, 1), dump.is_good)
        for dump, value in zip(kept, values, strict=True)
    ]
    least, largest = in_words(min(values)), in_words(max(values))
    between = f"always {largest}" if least == largest else f"between {least} and {largest}, last {in_words(values[-1])}"
    return Picture(name, f"{len(kept)} dump(s) since {kept[0].made:%Y-%m-%d}: {between}", points)


def _ages(kept: Sequence[Dump], now: datetime, allowed_hours: int) -> Picture:
    across = _across(kept, now)
    points = [(across(_ago(dump.made, now)), HEIGHT / 2, dump.is_good) for dump in kept]
    good = [dump for dump in kept if dump.is_good]
    newest = f"the newest good one is {in_time(_ago(good[-1].made, now))} old" if good else "none is good"
    words = f"the oldest is {in_time(_ago(kept[0].made, now))} old, {newest}; allowed are {allowed_hours} h"
    return Picture("Age", words, points, across(allowed_hours * 3600))


def _across(kept: Sequence[Dump], now: datetime) -> Callable[[float], float]:
    """Where an age in seconds lies, from the oldest dump on the left to now on the right."""
    whole = max(_ago(kept[0].made, now), 1)
    return lambda ago: round(WIDTH - MARGIN - (WIDTH - 2 * MARGIN) * min(ago / whole, 1), 1)


def _ago(made: datetime, now: datetime) -> float:
    """Seconds; none for one from the future."""
    return max(0.0, (now - made).total_seconds())


def in_time(seconds: float) -> str:
    """A duration as a person says it: 12 s, 3 min, 5 h, 12 d."""
    for unit, length in (("d", 172800), ("h", 7200), ("min", 120)):
        if seconds >= length:
            return f"{seconds / {'d': 86400, 'h': 3600, 'min': 60}[unit]:.0f} {unit}"
    return f"{seconds:.0f} s"
