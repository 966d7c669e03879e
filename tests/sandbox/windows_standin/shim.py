"""What a stand-in host's sshd runs instead of a shell: `shim.py ROOT`, as root, with $SSH_ORIGINAL_COMMAND.

It understands the snippets of files/windows/snippets and provision/winssh/host.ps1, no other PowerShell, and keeps
what they do under ROOT: `C:/` is the drive, `state/` the registry, so to say. SFTP is Debian's own sftp-server, in a
chroot where C:\\dir is /C:/dir, as on Windows. state/faults.json makes it fail on demand:

    deny               names of scripts that are refused, as Windows does for want of rights
    code_page          the encoding of everything it says, such as cp850 or cp1252
    no_sftp            SFTP ends at once
    cut_upload_after   SFTP's connection is cut after that many bytes

Python's standard library only: the host has nothing else.
"""

import base64
import gzip
import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
import zlib
from pathlib import Path

NAMESPACE = "http://schemas.microsoft.com/windows/2004/02/mit/task"
QUOTES = "'\u2018\u2019\u201a\u201b"
SDDL = "user.sddl"
INHERITED = "D:AI(A;ID;FA;;;SY)(A;ID;FA;;;BA)(A;ID;0x1200a9;;;BU)"
TRAILER = b"-- PostgreSQL database dump complete"
ACCESS_DENIED = "Accès refusé. (Exception from HRESULT: 0x80070005 (E_ACCESSDENIED))"


class Failure(Exception):
    """What the script would write to its error output before it exits with 1."""


class Machine:
    """The stand-in's memory: files under `root`/C:, everything else in `root`/state."""

    def __init__(self, root):
        self.root = Path(root)
        self.state = self.root / "state"

    def read(self, name, default):
        path = self.state / f"{name}.json"
        return {**default, **json.loads(path.read_text())} if path.exists() else default

    def path(self, windows):
        if not re.match(r"[A-Za-z]:\\", windows) or ".." in windows:
            raise Failure(f"Cannot find path '{windows}'")
        return self.root / windows.replace("\\", "/")

    def task_dir(self, folder):
        return self.state / "tasks" / folder.strip("\\")

    def journal(self, entry):
        with (self.state / "journal.jsonl").open("a") as file:
            file.write(json.dumps(entry) + "\n")


# --- The scripts --------------------------------------------------------------------------------------


def host(machine, request):
    return machine.read("host", {
        "platform": "Win32NT", "version": "10.0.20348.0", "powershell": "5.1.20348.2227",
        "language_mode": "FullLanguage", "user": "WIN1\\Administrator", "elevated": True,
        "temporary": "C:\\Users\\Administrator\\AppData\\Local\\Temp\\", "winget": False,
    })  # fmt: skip


def sddl_of(path, drive):
    try:
        return os.getxattr(path, SDDL).decode()
    except OSError:
        pass
    for parent in path.parents:
        if drive not in (parent, *parent.parents):
            break
        try:
            above = os.getxattr(parent, SDDL).decode()
        except OSError:
            continue
        aces = re.findall(r"\(A;OICI;([^;]*);;;([^)]*)\)", above)
        flags = "OICIID" if path.is_dir() else "ID"
        return "D:AI" + "".join(f"(A;{flags};{rights};;;{sid})" for rights, sid in aces)
    return INHERITED


def owner_of(path):
    try:
        return os.getxattr(path, "user.owner").decode()
    except OSError:
        return "BA"


def set_sddl(path, sddl):
    os.setxattr(path, SDDL, sddl.replace("(A;;FR;", "(A;;0x120089;").encode())


def paths(machine, request):
    found = {}
    for name in request["paths"]:
        path = machine.path(name)
        if not os.path.lexists(path):
            continue
        kind = "link" if path.is_symlink() else "directory" if path.is_dir() else "file"
        found[name] = {
            "kind": kind,
            "sddl": f"O:{owner_of(path)}G:SY" + sddl_of(path, machine.root / "C:"),
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest() if kind == "file" else None,
        }
    return found


def place(machine, request):
    for entry in request["entries"]:
        path = machine.path(entry["path"])
        if entry["kind"] == "directory":
            path.mkdir(parents=True, exist_ok=True)
        if entry["kind"] == "file":
            path.unlink(missing_ok=True)
            path.touch()
        if entry["sddl"]:
            set_sddl(path, entry["sddl"])


def accounts(machine, request):
    known = machine.read("accounts", {"WIN1\\sauvegarde": "S-1-5-21-11-22-33-1001"})
    return {name: known.get(name) for name in request["names"]}


def tasks(machine, request):
    found = {}
    for path in sorted(machine.task_dir(request["folder"]).glob("*.xml")):
        xml = path.read_text()
        found[path.stem] = {
            "xml": base64.b64encode(xml.encode()).decode(),
            "enabled": "<Enabled>false</Enabled>" not in xml.partition("<Settings>")[2],
            "last_result": machine.read("last_run", {"result": 0})["result"],
            "last_run": "2026-11-22T02:00:00", "next_run": "2026-11-23T02:00:00",
        }  # fmt: skip
    return found


def task_register(machine, request):
    written = as_windows_writes_it(request)
    path = machine.task_dir(request["folder"]) / f"{request['name']}.xml"
    refuse_somebody_elses(path, request)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(written)


def task_remove(machine, request):
    path = machine.task_dir(request["folder"]) / f"{request['name']}.xml"
    if path.exists():
        refuse_somebody_elses(path, request)
        path.unlink()


def refuse_somebody_elses(path, request):
    if path.exists() and request["mark"] not in path.read_text():
        raise Failure(f"{request['folder']}\\{request['name']} is somebody else's task: it was left as it is")


def as_windows_writes_it(request):
    """A task as it comes back: its elements in another order, defaults filled in, a date, whole days as days."""
    try:
        task = ET.fromstring(request["xml"])
        boundaries = task.findall(f".//{{{NAMESPACE}}}StartBoundary")
        if task.tag != f"{{{NAMESPACE}}}Task" or not all(re.match(r"\d{4}-\d\d-\d\dT", at.text) for at in boundaries):
            raise ET.ParseError("not a task")
    except ET.ParseError as error:
        raise Failure(f"The task XML is malformed: {error}") from None
    settings = task.find(f"{{{NAMESPACE}}}Settings")
    for name, value in {"AllowHardTerminate": "true", "Hidden": "false", "Priority": "7"}.items():
        ET.SubElement(settings, f"{{{NAMESPACE}}}{name}").text = value
    settings[:] = sorted(settings, key=lambda item: item.tag, reverse=True)
    limit = settings.find(f"{{{NAMESPACE}}}ExecutionTimeLimit")
    hours = re.fullmatch(r"PT(\d+)H", limit.text or "")
    if hours and int(hours[1]) >= 24:
        days, rest = divmod(int(hours[1]), 24)
        limit.text = f"P{days}D" + (f"T{rest}H" if rest else "")
    info = task.find(f"{{{NAMESPACE}}}RegistrationInfo")
    ET.SubElement(info, f"{{{NAMESPACE}}}Date").text = "2026-11-02T09:14:33.1234567"
    ET.SubElement(info, f"{{{NAMESPACE}}}URI").text = f"{request['folder']}\\{request['name']}"
    task[:] = sorted(task, key=lambda item: item.tag)
    ET.register_namespace("", NAMESPACE)
    return '<?xml version="1.0" encoding="UTF-16"?>\n' + ET.tostring(task, encoding="unicode")


def postgres(machine, request):
    known = machine.read(
        "postgres", {"C:\\Program Files\\PostgreSQL\\17\\bin\\pg_dump.exe": "pg_dump (PostgreSQL) 17.4"}
    )
    return {path: version for path, version in known.items() if version}


def winget(machine, request):
    path = "C:\\Program Files\\PostgreSQL\\17\\bin\\pg_dump.exe"
    (machine.state / "postgres.json").write_text(json.dumps({path: "pg_dump (PostgreSQL) 17.4"}))


def newest_backup(machine, request):
    names = {}
    for place in request["places"]:
        path = machine.path(place)
        if path.is_dir():
            names |= {
                file.name: f"{place}\\{file.name}" for file in path.iterdir() if re.match(request["pattern"], file.name)
            }
    if not names:
        return {"path": None, "bytes": 0, "age_hours": 0, "complete": False}
    newest = names[max(names)]
    raw = machine.path(newest).read_bytes()
    age = (time.time() - machine.path(newest).stat().st_mtime) / 3600
    return {"path": newest, "bytes": len(raw), "age_hours": age, "complete": is_complete(raw)}


def noted(file, *names):
    try:
        whole = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return {name: whole[name] for name in names if name in whole} if isinstance(whole, dict) else {}


def backup_report(machine, request):
    runs, manifests = [], {}
    for tier in request["tiers"]:
        status = machine.path(request["backup_dir"]) / f"status-{tier['name']}.json"
        if status.exists():
            run = json.loads(status.read_text())
            about = {"database": request["database"], "state": run["state"], "written": run["written"]}
            runs.append({**noted(status, "reason"), **about, "tier": tier["name"]})
        directory = machine.path(tier["directory"])
        files = [file for file in directory.glob("*") if re.match(request["pattern"], file.name)]
        manifests[tier["name"]] = [
            {
                **noted(file.with_name(f"{file.name}.json"), "seconds", "suspect"),
                "database": request["database"],
                "dump": file.name,
                "bytes": file.stat().st_size,
            }
            for file in files
        ]
    return {"now": time.strftime("%Y-%m-%dT%H:%M:%S"), "last_runs": runs, "manifests": manifests}


def is_complete(raw):
    try:
        return TRAILER in gzip.decompress(raw)[-4096:]
    except (OSError, EOFError, zlib.error):
        return False


def run_backup(machine, request):
    """Not the script, which needs PowerShell: a dump's name with a dump's end, so that what follows can be shown."""
    settings = (machine.path(request["script"]).parent / "lib/settings.ps1").read_text("utf-8-sig")
    backups = re.search(r"\$BackupDir = ('.*')$", settings, re.MULTILINE)
    app = re.search(r"\$AppName = ('.*')$", settings, re.MULTILINE)
    name = f"{unquote(app[1])}_{time.strftime('%Y-%m-%d_%H-%M-%S')}.sql.gz"
    path = machine.path(unquote(backups[1])) / name
    path.write_bytes(gzip.compress(b"-- by the stand-in\n" + TRAILER + b"\n"))
    status = {"state": "ok", "written": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    path.with_name("status-daily.json").write_text(json.dumps(status))


def knock(_, request):
    """The same over this machine's own network."""
    where = (request["server"], request["port"])
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
            way.connect(where)
            routes = [[way.getpeername()[0], way.getsockname()[0]]]
        with socket.create_connection(where, timeout=5) as client:
            client.sendall(f"AUTH {request['caller']} none\r\n".encode())
            return {"routes": routes, "said": client.recv(200).decode().strip()}
    except socket.gaierror:
        return {"routes": [], "said": ""}
    except OSError:
        return {"routes": routes, "said": ""}


SCRIPTS = {
    "host": host, "paths": paths, "place": place, "accounts": accounts, "tasks": tasks,
    "task-register": task_register, "task-remove": task_remove,
    "postgres": postgres, "winget": winget, "newest-backup": newest_backup, "run-backup": run_backup,
    "backup-report": backup_report, "knock": knock,
}  # fmt: skip


# --- PowerShell, as far as it goes --------------------------------------------------------------------


def unquote(literal):
    """A single-quoted PowerShell string. An end before the end is an injection, and refused."""
    value, at = "", 1
    while at < len(literal):
        if literal[at] in QUOTES:
            if literal[at + 1 : at + 2] and literal[at + 1] in QUOTES:
                at += 1
            elif at == len(literal) - 1:
                return value
            else:
                break
        value += literal[at]
        at += 1
    raise Failure("The string is missing the terminator: '.")


def script_of(machine, command):
    """The script that a command line brings, encoded in it or in the file that it names."""
    match = re.fullmatch(r"powershell((?: -[A-Za-z]+(?: [A-Za-z]+)?)*) -EncodedCommand ([A-Za-z0-9+/=]+)", command)
    if not match or len(command) > 8191:
        raise Failure(f"'{command[:40]}' is not recognized as an internal or external command")
    script = base64.b64decode(match[2]).decode("utf-16-le")
    caught = r"try \{ & ('.*') \} catch \{ \[Console\]::Error\.WriteLine\(\$_\.Exception\.Message\); exit 1 \}"
    named = re.fullmatch(rf"{caught}\nexit \$LASTEXITCODE", script)
    if not named:
        return script
    if "-ExecutionPolicy Bypass" not in match[1]:
        raise Failure("running scripts is disabled on this system")
    raw = machine.path(unquote(named[1])).read_bytes()
    if not raw.startswith(b"\xef\xbb\xbf") or b"\n" in raw.replace(b"\r\n", b""):
        raise Failure("a script without its mark or its CRLF would be misread by Windows PowerShell 5.1")
    return raw.decode("utf-8-sig").replace("\r\n", "\n")


def run(machine, script, say):
    name = re.search(r"^# winssh ([a-z-]+)$", script, re.MULTILINE)
    if not name:
        return run_other(script, say)
    machine.journal({"script": name[1], "text": script})
    if name[1] not in SCRIPTS:
        raise Failure(f"the stand-in does not know the script {name[1]}")
    if name[1] in machine.read("faults", {}).get("deny", []):
        raise Failure(ACCESS_DENIED)
    request = json.loads(unquote(re.search(r"-InputObject ('.*')$", script, re.MULTILINE)[1]))
    answered = SCRIPTS[name[1]](machine, request)
    if answered is not None:
        say("winssh:" + base64.b64encode(json.dumps(answered, ensure_ascii=False).encode()).decode())
    return 0


def run_other(script, say):
    """The few other things that the tests send: say this, then end with that code."""
    for line in script.splitlines():
        spoken = re.fullmatch(r"Write-Output ('.*')", line)
        ended = re.fullmatch(r"exit (\d+)", line)
        setting = re.match(r"\[Environment\]::SetEnvironmentVariable\(|Set-Location ", line)
        if spoken:
            say(unquote(spoken[1]))
        elif ended:
            return int(ended[1])
        elif not setting:
            raise Failure(f"The term '{line[:60]}' is not recognized: the stand-in knows our scripts only")
    return 0


# --- SFTP ---------------------------------------------------------------------------------------------


def serve_sftp(machine):
    faults = machine.read("faults", {})
    if faults.get("no_sftp"):
        sys.exit(1)
    os.umask(0o022)
    server = ["/usr/sbin/chroot", str(machine.root), "/sftp-server", "-d", "/C:/Users/Administrator"]
    if "cut_upload_after" not in faults:
        os.execv(server[0], server)
    child = subprocess.Popen(server, stdin=subprocess.PIPE)
    left = faults["cut_upload_after"]
    while left > 0:
        block = os.read(0, min(left, 4096))
        if not block:
            break
        child.stdin.write(block)
        child.stdin.flush()
        left -= len(block)
    child.kill()
    sys.exit(1)


def main():
    machine = Machine(sys.argv[1])
    command = os.environ.get("SSH_ORIGINAL_COMMAND", "")
    if "sftp" in command and not command.startswith("powershell"):
        serve_sftp(machine)
    encoding = machine.read("faults", {}).get("code_page", "utf-8")

    def say(text, stream=sys.stdout):
        stream.buffer.write(text.encode(encoding, "replace") + b"\r\n")

    sys.stdin.buffer.read()  # as powershell.exe does: it waits for the end of its input
    if encoding != "utf-8":
        say("Démarrage du système… prêt")
    try:
        code = run(machine, script_of(machine, command), say)
    except Failure as failure:
        say(str(failure), sys.stderr)
        code = 1
    except PermissionError:
        say(ACCESS_DENIED, sys.stderr)
        code = 1
    sys.stdout.flush()
    sys.exit(code)


if __name__ == "__main__":
    main()
