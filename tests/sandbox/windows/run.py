"""What a Windows host's sshd runs instead of a shell, as root, with $SSH_ORIGINAL_COMMAND: cmd.exe, as on Windows.

A terminal is its standard input, for wine gives no console without one, and PowerShell needs a console. It ends with
the connection; with what is sent, only for a script that reads it. SFTP is Debian's own sftp-server, in a chroot where
C:\\dir is /C:/dir.
"""

import os
import pty
import select
import subprocess
import sys
import threading

ROOT = "/srv/windows"
HOME = "/C:/users/Administrator"
CUT_SECONDS = 2  # how often it is looked whether the connection is cut
STANDINS = "/usr/local/lib/windows/standins.psm1"
ENVIRONMENT = {
    "WINEPREFIX": "/wine", "WINEARCH": "win64", "WINEDEBUG": "-all", "WINEDLLOVERRIDES": "mshtml=;amsi=",
    "WINEPATH": "Z:\\usr\\local\\lib\\windows\\powershell-windows", "LC_ALL": "C.UTF-8",
    "POWERSHELL_STANDINS": "Z:" + STANDINS.replace("/", "\\"), "POWERSHELL_TELEMETRY_OPTOUT": "1",
    # It lives for a second: a collector of its own thread costs more than it saves.
    "DOTNET_gcConcurrent": "0", "DOTNET_TieredPGO": "0",
}  # fmt: skip


def main():
    command = os.environ.get("SSH_ORIGINAL_COMMAND", "")
    if "sftp" in command and not command.startswith("powershell"):
        os.umask(0o022)
        os.execv("/usr/sbin/chroot", ["/usr/sbin/chroot", ROOT, "/sftp-server", "-d", HOME])
    sys.exit(run(cmd(command), reads=" -InputFormat None " in command))


def cmd(command):
    """The command line of cmd.exe, which is to see the command as it came: wine would put `\\` before its quotes."""
    return ["wine", "cmd.exe", "/c", "%SSH_ORIGINAL_COMMAND%" if '"' in command else command]


def run(argv, reads=False):
    """Run a program of wine's to its end; what it prints is passed on as it comes, and what is typed for it."""
    mine, its = pty.openpty()
    done = subprocess.Popen(
        argv, cwd=ROOT + HOME, env={**os.environ, **ENVIRONMENT},
        stdin=its, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    os.close(its)
    targets = {0: mine, mine: None, done.stdout.fileno(): 1, done.stderr.fileno(): 2}
    asleep, wake = os.pipe()
    threading.Thread(target=lambda: (done.wait(), os.close(wake)), daemon=True).start()
    gone = select.poll()
    gone.register(1, 0)  # of a connection that is cut, whatever is or is not sent by it
    # Not to the end of what it prints: services that wine starts on the way hold its outputs open for good.
    while not gone.poll(0):
        if reads and 0 not in targets and mine in targets:
            del targets[mine]
            os.close(mine)
        ready, _, _ = select.select([*targets, asleep], [], [], CUT_SECONDS)
        for source in ready:
            if source in targets:
                pass_on(source, targets)
        if ready == [asleep]:
            return done.wait()
    return 1


def pass_on(source, targets):
    """Pass on a block of what comes, to nowhere without a target; forget a source that has ended."""
    try:
        block = os.read(source, 65536)
    except OSError:  # the terminal's other end is closed
        block = b""
    if not block:
        del targets[source]
    target = targets.get(source)
    if source == 0:
        block = block.replace(b"\n", b"\r")  # Enter, on a keyboard
    while target and block:
        block = block[os.write(target, block) :]


if __name__ == "__main__":
    main()
