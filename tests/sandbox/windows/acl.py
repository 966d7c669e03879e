"""Access lists, which wine does not keep: a service that holds each file's in its extended attribute `user.sddl`.

So a list goes where its file goes, and vanishes with it. A line of JSON asks, `{"path": "C:\\\\x"}`, or sets,
`{"path": ..., "sddl": ...}`; the answer is one line: the path's owner and access list, the inherited entries in it, as
Windows gives it back.
"""

import json
import os
import re
import socketserver
from pathlib import Path

DRIVES = Path("/srv/windows")
SDDL = "user.sddl"
PORT = 965
# What a drive's root has: SYSTEM and the administrators everything, users may read.
ROOT_ACES = (
    ("A", "OICI", "FA", "", "", "SY"),
    ("A", "OICI", "FA", "", "", "BA"),
    ("A", "OICI", "0x1200a9", "", "", "BU"),
)


class Asked(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            request = json.loads(line)
            path = unix_path(request["path"])
            if "sddl" in request:
                os.setxattr(path, SDDL, own_entries(request["sddl"]).encode())
            self.wfile.write((described(path) + "\n").encode())


def unix_path(windows):
    """Where a path of Windows' lies; capitals do not count."""
    drive, *names = re.split(r"[\\/]+", windows.rstrip("\\/").removeprefix("\\\\?\\"))
    path = DRIVES / drive.upper()
    for name in names:
        path = exact if os.path.lexists(exact := path / name) else alike(path, name) or exact
    return path


def alike(directory, name):
    return next((each for each in directory.glob("*") if each.name.casefold() == name.casefold()), None)


def described(path):
    """A path's owner, group and access list as SDDL."""
    own = kept(path)
    owner = re.match(r"O:(S-[0-9-]+|[A-Z]{2})", own)
    protected, _ = entries(own)
    head = "D:PAI" if protected else "D:AI"
    aces = "".join("(" + ";".join(ace) + ")" for ace in access(path))
    return f"O:{owner[1] if owner else 'BA'}G:SY{head}{aces}"


def access(path):
    """The entries of a path's access list: its own, then what it inherits."""
    protected, own = entries(kept(path))
    if protected:
        return own
    above = ROOT_ACES if path.parent == DRIVES else access(path.parent)
    if path.parent == DRIVES:
        return [*own, *above]
    passed = (passed_on(ace, path.is_dir() and not path.is_symlink()) for ace in above)
    return [*own, *(ace for ace in passed if ace)]


def passed_on(ace, to_directory):
    """An entry as what lies below inherits it (MS-DTYP 2.5.3.4.6); None when it does not."""
    kind, flags, *rest = ace
    pairs = re.findall("..", flags)
    if "CI" in pairs and to_directory:
        flags = "".join(pair for pair in ("OI", "CI") if pair in pairs) + "ID"
    elif "OI" in pairs:
        flags = "OIIOID" if to_directory else "ID"
    else:
        return None
    return (kind, flags, *rest)


def entries(sddl):
    """Whether an access list is shut off from inheritance, and its entries."""
    match = re.search(r"D:([A-Z]*)((?:\([^)]*\))*)", sddl)
    if not match:
        return False, []
    return "P" in match[1], [tuple(ace.split(";")) for ace in re.findall(r"\(([^)]*)\)", match[2])]


def own_entries(sddl):
    """A descriptor without the entries that were only inherited."""
    return re.sub(r"\([^;]*;[A-Z]*ID[^)]*\)", "", sddl)


def kept(path):
    try:
        return "" if path.is_symlink() else os.getxattr(path, SDDL).decode()
    except OSError:
        return ""


if __name__ == "__main__":
    socketserver.ThreadingTCPServer.allow_reuse_address = True
    with socketserver.ThreadingTCPServer(("127.0.0.1", PORT), Asked) as server:
        server.serve_forever()
