"""The package's docstring is a true map: it names every module, and imports only look down."""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter

import provision
from provision.settings.project import PROJECT

PACKAGE = PROJECT / "provision"
ENTRY = "provision.__main__"  # `python -m provision`: above all rooms


def rooms_on_the_map() -> dict[str, list[str]]:
    """The rooms in their order, each with its modules, as the docstring lists them."""
    rooms: dict[str, list[str]] = {}
    for line in (provision.__doc__ or "").splitlines():
        if match := re.fullmatch(r"    (?P<room>[a-z]*) +(?P<modules>[a-z_ ]+)", line):
            if match["room"]:
                room = match["room"]
                rooms[room] = []
            if len(line) - len(line.lstrip()) < len("                     "):  # deeper: what the room is for
                rooms[room] += match["modules"].split()
    return rooms


def imports() -> dict[str, set[str]]:
    """Each module of the package with the modules of the package that it imports, wherever in its text."""
    modules = {_name(path): path for path in PACKAGE.rglob("*.py")}
    found = {}
    for name, path in modules.items():
        wanted = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                named = {f"{node.module}.{each.name}" for each in node.names}
                wanted |= named if named <= modules.keys() else {node.module} | named
            elif isinstance(node, ast.Import):
                wanted |= {each.name for each in node.names}
        found[name] = {each for each in wanted if each in modules and each not in (name, "provision")}
    return found


def _name(path) -> str:
    parts = path.relative_to(PROJECT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _room(module: str) -> str:
    return module.split(".")[1]


def test_the_map_names_every_module_once():
    on_disk = {(_room(name), name.split(".")[2]) for name in imports() if name.count(".") == 2}
    named = [(room, module) for room, modules in rooms_on_the_map().items() for module in modules]
    assert sorted(named) == sorted(on_disk)


def test_no_module_stands_beside_the_rooms():
    beside = {name for name in imports() if name.count(".") == 1 and not (PACKAGE / _room(name)).is_dir()}
    assert beside == {ENTRY}


def test_imports_only_look_down():
    order = {room: place for place, room in enumerate(rooms_on_the_map())}
    upwards = [
        f"{module} imports {wanted}"
        for module, each in imports().items()
        for wanted in each
        if module not in ("provision", ENTRY) and order[_room(wanted)] > order[_room(module)]
    ]
    assert upwards == []


def test_the_connector_imports_nothing_of_the_project():
    assert {wanted for module, each in imports().items() if _room(module + ".") == "winssh" for wanted in each} == {
        "provision.winssh.powershell"
    }


def test_no_imports_go_in_a_circle():
    TopologicalSorter(imports()).prepare()  # raises CycleError, naming the circle


def test_what_lands_on_hosts_lies_in_rooms_of_the_same_names():
    rooms = set(rooms_on_the_map())
    lying = {path.name for top in ("files", "templates") for path in (PROJECT / top).iterdir()}
    assert lying <= rooms
