"""The one way to call Docker's client: output captured, failures quoted, never a secret in an argument."""

import subprocess

from tests.sandbox.errors import SandboxError

DEFAULT_TIMEOUT_SECONDS = 120


def run(*arguments: str, stdin: bytes = b"", timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS) -> str:
    """Run `docker ARGUMENTS` and return what it printed; raise SandboxError quoting its complaint.

    What must stay secret goes through `stdin`: arguments can be read by every user of the machine.
    """
    result = attempt(*arguments, stdin=stdin, timeout_seconds=timeout_seconds)
    if result.returncode != 0:
        raise SandboxError(f"docker {arguments[0]} failed: {complaint(result)}")
    return result.stdout.decode(errors="replace").strip()


def attempt(
    *arguments: str, stdin: bytes = b"", timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
) -> subprocess.CompletedProcess[bytes]:
    """Run `docker ARGUMENTS` and return the outcome, whatever the exit code."""
    try:
        return subprocess.run(["docker", *arguments], input=stdin, capture_output=True, timeout=timeout_seconds)
    except FileNotFoundError as error:
        raise SandboxError("there is no docker command on this machine") from error
    except subprocess.TimeoutExpired as error:
        raise SandboxError(f"docker {arguments[0]} did not finish in {timeout_seconds:.0f} s") from error


def complaint(result: subprocess.CompletedProcess[bytes]) -> str:
    """Return why a command failed, on one line: what the engine answered, else the last thing that was said."""
    lines = (result.stderr or result.stdout).decode(errors="replace").strip().splitlines()
    if not lines:
        return f"exit code {result.returncode}"
    marker = "Error response from daemon: "
    answers = [line.partition(marker)[2] for line in lines if marker in line]
    return (answers or lines)[-1].strip()
