"""The files that describe environments: where they lie, what they define, and what of it pyinfra would misread."""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import runpy
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyinfra_cli.inventory as pyinfras

from provision.settings.project import PROJECT

# Another directory's environments, with group_data/ beside them: how the bench brings its own.
INVENTORIES = PROJECT / os.environ.get("INVENTORIES", "inventories")
ROLES = ("redis", "app", "backup", "vault")


class InventoryError(Exception):
    """The environment cannot be deployed as it is described; the text lists every reason and its remedy."""


def names() -> list[str]:
    return sorted(path.stem for path in INVENTORIES.glob("*.py"))


def path_of(environment: str) -> Path:
    """Given an environment's name, return its inventory file. Raise InventoryError when there is none."""
    path = INVENTORIES / f"{environment}.py"
    if environment not in names():
        raise InventoryError(f"ENV={environment}: there is no such environment; there are: {', '.join(names())}")
    if environment in (*ROLES, "all"):
        raise InventoryError(
            f"{shown(path)}: all hosts of a file are in the group of its name, so each of them would be in"
            f" {environment}: give the file another name"
        )
    if not path.is_file():
        raise InventoryError(f"{shown(path)} is no file: see where it leads")
    return path


def environment_of(groups: Iterable[str]) -> str:
    """Given a host's groups, return the one that is an inventory file: the environment."""
    found = [group for group in groups if group in names()]
    if not found:
        raise InventoryError("deploy with an inventory file of this project, such as inventories/production.py")
    return found[-1]


@contextlib.contextmanager
def executing_once(executed: dict[str, dict[str, Any]]) -> Iterator[None]:
    """Have pyinfra execute each file once, and keep what it defines: a role that pyinfra misreads it passes over."""
    execute = pyinfras.exec_file

    def exec_file(filename: str, *arguments: Any, **options: Any) -> Any:
        if filename not in executed:
            try:
                executed[filename] = execute(filename, *arguments, **options)
            except (Exception, SystemExit) as error:
                if not getattr(error, "filename", None):
                    error.filename = filename  # type: ignore[union-attr]
                raise
        return executed[filename]

    pyinfras.exec_file = exec_file
    try:
        yield
    finally:
        pyinfras.exec_file = execute


def executed(path: Path) -> dict[str, Any]:
    try:
        return runpy.run_path(str(path))
    except (Exception, SystemExit) as error:
        raise unreadable(path, error) from None


def checked(groups: dict[str, Any], path: Path) -> dict[str, Any]:
    """What an inventory file defines. Raise InventoryError for a role that pyinfra would pass over or misread."""
    for role in ROLES:
        hosts = groups.get(role, [])
        if isinstance(hosts, tuple) and len(hosts) == 2 and isinstance(hosts[1], dict):
            hosts = hosts[0]  # pyinfra's (hosts, data of all of them)
        if not isinstance(hosts, list) or not all(_is_host(entry) for entry in hosts):
            raise InventoryError(
                f"{shown(path)}: {role} must be a list of hosts, each a name or (name, {{its data}}),"
                f' such as {role} = ["host1.example.com"]'
            )
    for name, value in groups.items():
        if not name.startswith("_") and _is_misread(value):
            raise InventoryError(
                f"{shown(path)}: {name} is taken for a group of hosts, and is none: begin the name of what is for this"
                f" file alone with an underscore, _{name}"
            )
    return groups


def refuse_data_of_nobody(groups: set[str]) -> None:
    """Raise InventoryError for a file of group_data/ that is called almost like a group: it would hold nowhere."""
    known = {"all", *ROLES, *names(), *groups}
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in INVENTORIES.glob("*.py") if path.is_file()]
    for file in sorted((INVENTORIES / "group_data").glob("*.py")):
        if file.stem in known or any(re.search(rf"\b{re.escape(file.stem)}\b", text) for text in texts):
            continue
        # What is called like none is of an environment that went.
        if close := difflib.get_close_matches(file.stem, sorted(known), 1, 0.8):
            raise InventoryError(
                f"{shown(file)} is for no group, and what stands in it holds nowhere: did you mean {close[0]}.py?"
                " Rename it, or remove it"
            )


def _is_misread(value: Any) -> bool:
    """Whether pyinfra takes a value for a group, and breaks on it."""
    if isinstance(value, tuple):
        return len(value) != 2 or not isinstance(value[0], list) or not isinstance(value[1], dict)
    # A list with anything but names and tuples it passes over.
    is_group = isinstance(value, list) and all(isinstance(entry, str | tuple) for entry in value)
    return is_group and not all(_is_host(entry) for entry in value)


def _is_host(entry: Any) -> bool:
    match entry:
        case str(name) | (str(name), dict()):
            return bool(name)
    return False


def shown(path: Path) -> str:
    return str(path.relative_to(PROJECT) if path.is_relative_to(PROJECT) else path)


def unreadable(file: Any, error: BaseException) -> InventoryError:
    where = shown(Path(file or INVENTORIES)) + (f", line {error.lineno}" if isinstance(error, SyntaxError) else "")
    return InventoryError(f"{where} cannot be read: {type(error).__name__}: {getattr(error, 'msg', error)}")
