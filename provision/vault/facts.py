"""The public halves of a host's keys, and whether its sshd has read what we wrote for it."""

from __future__ import annotations

from pyinfra.api import FactBase, QuoteString, StringCommand
from typing_extensions import override


class PublicKeys(FactBase[dict[str, str]]):
    """Given a vault's directory of keys, return the public halves by their kind; `host` is the host's own.

    A kind is absent where there is none.
    """

    @override
    def command(self, config_dir: str) -> StringCommand:
        return StringCommand(
            "cd", QuoteString(config_dir), "2>/dev/null && {",
            "for k in ssh sign; do",
            'if [ -s "$k" ] && [ -s "$k.pub" ]; then echo "$k=$(cut -d " " -f 1,2 "$k.pub")"; fi; done;',
            'if [ -s age ]; then echo "age=$(age-keygen -y age)"; fi; };',
            "if [ -s /etc/ssh/ssh_host_ed25519_key.pub ]; then",
            'echo "host=$(cut -d " " -f 1,2 /etc/ssh/ssh_host_ed25519_key.pub)"; fi; true',
        )  # fmt: skip

    @staticmethod
    @override
    def default() -> dict[str, str]:
        return {}

    @override
    def process(self, output: list[str]) -> dict[str, str]:
        pairs = (line.partition("=") for line in output)
        return {kind: key for kind, _, key in pairs if key}


class VaultReport(FactBase[list[str]]):
    """Given a vault's program, return what it says of each database that it holds, as JSON, a line each."""

    @override
    def command(self, program: str) -> StringCommand:
        return StringCommand(QuoteString(program), "--report 2>/dev/null || true")

    @staticmethod
    @override
    def default() -> list[str]:
        return []

    @override
    def process(self, output: list[str]) -> list[str]:
        return output
