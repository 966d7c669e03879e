"""`make settings`: every setting with its default, its unit and its meaning: the page docs/settings.md."""

from __future__ import annotations

import importlib
import inspect
from argparse import Namespace
from collections.abc import Iterator
from itertools import groupby
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from provision.settings import SECRET_SETTINGS, Settings

_PREFACE = """\
# Settings

They stand as flat Python values in `inventories/group_data/`: `all.py` for everything, one file for each
environment, or beside a host in the inventory. The narrower wins: host, environment, `all.py`. An unknown name is an
error that suggests the right one, and every value of every host is checked before any host is touched.

This page is made from the schema in `provision/settings/`; after a change there: `make settings >docs/settings.md`.
Where a password comes from: [security.md](security.md#secrets).
"""

# How a setting's name ends tells its unit.
_UNITS = {
    "seconds": "seconds",
    "minutes": "minutes",
    "hours": "hours",
    "days": "days",
    "mb": "MiB",
    "percent": "percent",
    "at": "HH:MM",
    "port": "1 to 65535",
}


def run(arguments: Namespace) -> int:
    print(page(), end="")
    return 0


def page() -> str:
    """All settings as Markdown: a table for each module of `provision.settings`."""
    return "".join([_PREFACE, *(_section(module, names) for module, names in groupby(Settings.model_fields, _module))])


def _section(module: str, names: Iterator[str]) -> str:
    title = module.rpartition(".")[2].replace("_", " ").capitalize()
    sentence = (importlib.import_module(module).__doc__ or "").splitlines()[0]
    head = ["| setting | default | unit or choice | meaning |", "|---|---|---|---|"]
    return "\n".join([f"\n## {title}", "", sentence, "", *head, *(_row(name) for name in names)]) + "\n"


def _row(name: str) -> str:
    field = Settings.model_fields[name]
    cells = [f"`{name}`", _default(name, field), _unit(name, field.annotation), _meaning(name, field)]
    return f"| {' | '.join(cells)} |"


def _module(name: str) -> str:
    return next(each.__module__ for each in Settings.__mro__ if name in inspect.get_annotations(each))


def _default(name: str, field: FieldInfo) -> str:
    if name in SECRET_SETTINGS:
        return "`.secrets/<environment>.env`"
    if field.default is PydanticUndefined and field.default_factory is None:
        return ""
    example = Settings(**dict.fromkeys(SECRET_SETTINGS, "x"))
    return f"`{_shown(getattr(example, name))}`"


def _unit(name: str, annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(annotation))
    return "`True`, `False`" if annotation is bool else _UNITS.get(name.rpartition("_")[2], "")


def _meaning(name: str, field: FieldInfo) -> str:
    examples = [f"`{name} = {each!r}`" for each in field.examples or []]
    return " ".join([field.description or "", *(f"Such as {example}." for example in examples)])


def _shown(value: object) -> str:
    # A rate as an inventory writes it: "5/15min".
    return repr({name: str(each) for name, each in value.items()} if isinstance(value, dict) else value)
