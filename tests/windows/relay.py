"""What the tests' private sshd runs for a Windows host: `relay.py DIRECTORY`, as root, with $SSH_ORIGINAL_COMMAND.

Scripts go to a PowerShell for Windows that runs already (warm.ps1), SFTP to Debian's own sftp-server in a chroot where
C:\\dir is /C:/dir. DIRECTORY/machine.json says where both are; DIRECTORY/faults.json makes it fail on demand:

    deny               names of snippets that are refused, as Windows does for want of rights
    code_page          the encoding of everything it says, such as cp850 or cp1252
    no_sftp            SFTP ends at once
    cut_upload_after   SFTP's connection is cut after that many bytes
"""

import base64
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

LONGEST_COMMAND = 8191  # cmd.exe's
ACCESS_DENIED = "Accès refusé. (Exception from HRESULT: 0x80070005 (E_ACCESSDENIED))"


def read(directory, name):
    path = Path(directory) / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def script_of(command):
    """The script of a command line; None where it is no command line that PowerShell on Windows would run."""
    match = re.fullmatch(r"powershell .*-ExecutionPolicy Bypass .*-EncodedCommand ([A-Za-z0-9+/=]+)", command)
    if not match or len(command) > LONGEST_COMMAND:
        return None
    return base64.b64decode(match[1]).decode("utf-16-le")


def powershell(where, script):
    """The code, the output and the errors of a script that warm.ps1 runs: at an address and port, or a path."""
    with socket.socket(socket.AF_UNIX if isinstance(where, str) else socket.AF_INET) as way:
        way.connect(where)
        way.sendall((json.dumps({"script": script}) + "\n").encode())
        answered = json.loads(way.makefile("rb").readline())
    return answered["code"], answered["output"], answered["errors"]


def text_of(script, root):
    """A script, or that of the file which it runs: a long one comes as a file."""
    path = re.search(r"^try \{ & '(C:\\[^']*\\winssh-[0-9a-f]+\.ps1)' \}", script)
    if not path:
        return script
    return (Path(root) / path[1].replace("\\", "/")).read_text("utf-8-sig").replace("\r\n", "\n")


def run(directory, faults, script):
    """The code, the output and the errors of a script."""
    machine = read(directory, "machine")
    text = text_of(script, machine["root"])
    named = re.search(r"^# winssh ([a-z-]+)$", text, re.MULTILINE)
    name = named[1] if named else ""
    with (Path(directory) / "journal.jsonl").open("a") as journal:
        journal.write(json.dumps({"script": name, "text": text}) + "\n")
    if name in faults.get("deny", []):
        return 1, "", ACCESS_DENIED + "\n"
    return powershell((machine["address"], machine["port"]), script)


def serve_sftp(directory, faults):
    if faults.get("no_sftp"):
        sys.exit(1)
    os.umask(0o022)
    server = ["/usr/sbin/chroot", read(directory, "machine")["root"], "/sftp-server", "-d", "/C:/users/Administrator"]
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
    directory = sys.argv[1]
    faults = read(directory, "faults")
    command = os.environ.get("SSH_ORIGINAL_COMMAND", "")
    if "sftp" in command and not command.startswith("powershell"):
        serve_sftp(directory, faults)
    sys.stdin.buffer.read()  # as powershell.exe does: it waits for the end of its input
    script = script_of(command)
    if script is None:
        code, output, errors = 1, "", f"'{command[:40]}' is not recognized as an internal or external command\n"
    else:
        code, output, errors = run(directory, faults, script)
    encoding = faults.get("code_page", "utf-8")
    if "code_page" in faults:
        output = "Démarrage du système… prêt\r\n" + output
    sys.stdout.buffer.write(output.encode(encoding, "replace"))
    sys.stderr.buffer.write(errors.encode(encoding, "replace"))
    sys.stdout.flush()
    sys.exit(code)


if __name__ == "__main__":
    main()
