"""What can be said about PowerShell text without PowerShell: the grammar's errors, and rules for what it misses.

The grammar is tree-sitter-powershell's; it lets some broken scripts pass, and knows nothing of Windows
PowerShell 5.1's traps.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import tree_sitter_powershell
from tree_sitter import Language, Node, Parser

_PARSER = Parser(Language(tree_sitter_powershell.language()))
_ALIASES = {
    "cat", "cd", "cls", "copy", "cp", "curl", "del", "dir", "diff", "echo", "erase", "foreach",
    "gc", "gci", "gi", "gm", "gp", "gwmi", "h", "icm", "iex", "ii", "iwr", "kill", "ls", "md",
    "mkdir", "mount", "move", "mv", "ni", "popd", "ps", "pushd", "pwd", "rd", "ren", "rm", "rmdir",
    "rp", "rv", "sal", "sc", "select", "set", "sleep", "sort", "sp", "start", "tee", "type", "wget",
    "where", "?", "%",
}  # fmt: skip
_BANNED = {
    "write-host": "Write-Host writes to nobody in a scheduled task",
    "invoke-expression": "Invoke-Expression runs text",
    "compress-archive": "Compress-Archive fails above 2 GB",
    "out-file": "Out-File writes UTF-16 in Windows PowerShell 5.1",
    "set-content": "Set-Content writes the ANSI code page in Windows PowerShell 5.1",
    "add-content": "Add-Content writes the ANSI code page in Windows PowerShell 5.1",
}
_OPENING, _CLOSING = re.compile(r"@(['\"])[ \t]*$"), re.compile(r"^(['\"])@")


def faults(text: str) -> list[str]:
    """Everything that is wrong with a script, with its line."""
    source = text.removeprefix("\ufeff").replace("\r\n", "\n")
    tree = _PARSER.parse(source.encode())
    found = [*_syntax(tree.root_node), *_commands(tree.root_node), *_natives(tree.root_node), *_here_strings(source)]
    for number, line in enumerate(source.split("\n"), 1):
        # Doubled, in a string, it is quoted.
        single = re.sub("([\u2018\u2019\u201a\u201b])\\1", "", line)
        if re.search("[\u2018\u2019\u201a\u201b\u201c\u201d\u201e]", single) and not line.lstrip().startswith("#"):
            found.append(f"line {number}: a typographic quote, which PowerShell takes for a plain one")
        # `${name}: ` is meant: "$name:" is a drive to PowerShell.
        if re.search(r"\$(?!script:|env:|global:|local:|using:|private:)[A-Za-z_]\w*:(?!:)", line):
            found.append(f'line {number}: "$name:" names a drive: write ${{name}}:')
        if re.search(r"(?<![\w&|])(\|\||&&|\?\?|\?\.)(?![\w'\"])", _without_strings(line)):
            found.append(f"line {number}: an operator that Windows PowerShell 5.1 does not have")
        if re.search(r"[\w\])]\('[^']*' -f ", line):
            found.append(f"line {number}: a comma after -f ends a method's argument: write another pair of parentheses")
        if "2>&1" in _without_strings(line):
            found.append(f"line {number}: 2>&1 on a program ends a 5.1 script under Stop")
    return found


def _nodes(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from _nodes(child)


def _where(node: Node) -> str:
    return f"line {node.start_point[0] + 1}"


def _text(node: Node) -> str:
    return (node.text or b"").decode()


def _syntax(root: Node) -> Iterator[str]:
    for node in _nodes(root):
        if node.type == "ERROR" or node.is_missing:
            yield f"{_where(node)}: syntax: {_text(node)[:60]!r}"


def _commands(root: Node) -> Iterator[str]:
    for node in _nodes(root):
        if node.type != "command_name":
            continue
        name = _text(node).lower()
        if name in _ALIASES:
            yield f"{_where(node)}: the alias {name}: write the command's own name"
        if name in _BANNED:
            yield f"{_where(node)}: {_BANNED[name]}"


def _natives(root: Node) -> Iterator[str]:
    """`& program` is followed by a look at $LASTEXITCODE: no failure of a program is an error to PowerShell."""
    for node in _nodes(root):
        if node.type != "command" or not _text(node).lstrip().startswith("&"):
            continue
        statement = node
        while statement.parent is not None and statement.parent.type not in (
            "statement_list",
            "program",
            "script_block",
        ):
            statement = statement.parent
        following = statement.next_named_sibling
        while following is not None and following.type == "comment":
            following = following.next_named_sibling
        if following is None or "$LASTEXITCODE" not in _text(following):
            yield f"{_where(node)}: a program was started and $LASTEXITCODE not looked at"


def _here_strings(source: str) -> Iterator[str]:
    opened = None
    for number, line in enumerate(source.split("\n"), 1):
        if opened:
            closing = _CLOSING.match(line)
            if closing and closing[1] == opened[0]:
                opened = None
        elif not line.lstrip().startswith("#"):
            opening = _OPENING.search(line)
            opened = (opening[1], number) if opening else None
    if opened:
        yield f"line {opened[1]}: a here-string that never ends"


def _without_strings(line: str) -> str:
    return re.sub(r"'[^']*'|\"[^\"]*\"", "''", line)
