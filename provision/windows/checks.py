"""What must be true on a Windows host after a deploy, asked from outside pyinfra: read-only.

`run` is testinfra's `host.run` over its plain SSH backend: a command that holds no argument of its own, so that
nothing is quoted for a Unix shell on the way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from provision.settings import Settings
from provision.windows import acl, layout, snippets, task
from provision.windows.facts import read_tasks
from provision.windows.operations import File
from provision.winssh import powershell

GAVE_WAY = 75  # the script's own: the other tier's run, which started at the same moment, made the dump
HAS_NOT_RUN = 267011  # SCHED_S_TASK_HAS_NOT_RUN
RUNNING = 267009  # SCHED_S_TASK_RUNNING
# What has kept a task from running at all: HRESULTs of the Task Scheduler, exit codes of Windows' own.
_RESULTS = {
    0x80070569: 'its account lacks the right "Log on as a batch job"',
    0x8007052E: "the name or password of its account is wrong",
    0x80070002: "powershell.exe or its directory was not found",
    0x80070005: "access was denied to its account",
    0xC000013A: "it was ended, as by a shutdown",
    0x800710E0: "Windows refused to start it, as on batteries or when nobody is logged on",
    0xFFFD0000: "PowerShell did not find the script, or a policy forbids it (AllSigned wins over Bypass)",
    267014: "it was ended by a person or by its time limit (windows_task_time_limit_hours)",
    3: "a dump was made, and something was left undone: its log has what",
}


def ask(run: Callable[[str], Any], name: str, **arguments: object) -> Any:
    """Run one of our scripts, and return its answer. Raise RuntimeError with what the host said instead."""
    command = powershell.command(snippets.script(name, arguments))
    if command is None:
        raise RuntimeError(f"{name}: its arguments are too long for a command line")
    done = run(command)
    lines = [powershell.text(line) for line in done.stdout_bytes.split(b"\n")]
    if done.rc != 0:
        said = powershell.plain_errors([powershell.text(line) for line in done.stderr_bytes.split(b"\n")])
        raise RuntimeError(f"{name}: {' '.join(said).strip()}")
    return powershell.answer(lines)


def files(run: Callable[[str], Any], settings: Settings) -> list[str]:
    """What is wrong with the directories, scripts and access lists."""
    entries = [*layout.directories(settings), *layout.files(settings)]
    found = _lying(run, [entry.path for entry in entries])
    told = []
    names = sorted({name for entry in entries if entry.access for name in entry.access.accounts})
    sids = ask(run, "accounts", names=names) if names else {}
    for entry in entries:
        there = found.get(entry.path)
        if there is None:
            told.append(f"{entry.path}: is missing")
            continue
        if isinstance(entry, File) and there["sha256"] != entry.sha256:
            told.append(f"{entry.path}: its content differs")
        if entry.access is not None:
            told += acl.differences(entry.path, entry.access.resolved(sids), there["sddl"])
    return told


def _lying(run: Callable[[str], Any], paths: list[str]) -> dict[str, Any]:
    """What lies at these paths; as many at a time as fit on one command line."""
    if powershell.command(snippets.script("paths", {"paths": paths})) is not None or len(paths) == 1:
        return cast("dict[str, Any]", ask(run, "paths", paths=paths))
    half = len(paths) // 2
    return _lying(run, paths[:half]) | _lying(run, paths[half:])


def tasks(run: Callable[[str], Any], settings: Settings) -> list[str]:
    """What is wrong with the scheduled tasks: as described, enabled, with a next run, the last one good."""
    found = read_tasks(ask(run, "tasks", folder=settings.windows_task_folder))
    told = []
    for wanted in layout.tasks(settings):
        there = found.get(wanted.name)
        if there is None:
            told.append(f"{wanted.path}: is missing")
            continue
        accounts = {} if wanted.service_account else ask(run, "accounts", names=[wanted.user])
        told += task.differences(wanted, there["xml"], accounts)
        if not there["enabled"]:
            told.append(f"{wanted.path}: is disabled")
        # COM gives the last moment of 1899 for "never".
        if there["next_run"] < "1900":
            told.append(f"{wanted.path}: has no next run")
        if there["last_result"] not in (0, GAVE_WAY, HAS_NOT_RUN, RUNNING):
            ended = _result(there["last_result"])
            told.append(f"{wanted.path}: its last run, at {there['last_run']}, ended with {ended}")
    return told


def _result(code: int) -> str:
    """A task's last result, in words where they are known; COM gives it with a sign."""
    words = _RESULTS.get(code & 0xFFFFFFFF)
    shown = str(code) if 0 <= code < 2**16 else f"0x{code & 0xFFFFFFFF:08X}"
    return f"code {shown}: {words}" if words else f"code {shown}"


def newest_backup(run: Callable[[str], Any], settings: Settings) -> list[str]:
    """What is wrong with the newest dump: there, complete, fresh."""
    found = ask(
        run, "newest-backup", places=[*layout.tiers(settings).values()],
        pattern=layout.dump_pattern(settings), script=layout.backup_script(settings),
    )  # fmt: skip
    if found["path"] is None:
        return [f"{settings.windows_backup_dir}: holds no dump"]
    told = [] if found["complete"] else [f"{found['path']}: is not complete"]
    if found["age_hours"] > settings.backup_maximum_age_hours:
        told.append(f"{found['path']}: is {found['age_hours']:.0f} hours old")
    return told
