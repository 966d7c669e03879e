"""Whether the app may still run scripts of its own (EVAL), which is to be able to stop Redis for everybody.

The limiters of version 1.0.0 count by a script, and are compiled into the app's build: where a host let the app run
scripts, it goes on until a timer on the host has seen none for `redis_eval_days`. Elsewhere nobody gets the right.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from pyinfra.api import StringCommand
from typing_extensions import override

from provision.engine.facts import Fact, asked
from provision.settings import Settings

_DAY = 86400
_FRESH_SECONDS = 3600  # the timer asks each 5 minutes: an older answer says nothing of what came since


@dataclass(frozen=True)
class Scripts:
    """What a host says of scripts: whether the app may run them, and when it did. Seconds since 1970; 0 for never."""

    granted: bool = False
    is_watched: bool = False
    now: int = 0
    since: int = 0
    used: int = 0
    asked: int = 0


class ScriptUse(Fact[Scripts]):
    """Given the users files that may be there, the app's user, and the timer's state, what the host says of scripts."""

    @override
    def command(self, acl_files: Sequence[str], user: str, state: str) -> StringCommand:
        files, kept = shlex.join(acl_files), shlex.quote(state)
        return asked(
            f"for f in {files}; do if [ -f $f ]; then cat $f; fi; done 2>/dev/null"
            f" | grep -q '^user {user} .*+evalsha' && echo granted;"
            f" if [ -f {kept} ]; then echo watched $(date +%s) $(cat {kept}); fi; true"
        )

    @staticmethod
    @override
    def default() -> Scripts:
        return Scripts()

    @override
    def read(self, lines: list[str]) -> Scripts:
        watched = [line.split()[1:5] for line in lines if line.startswith("watched ")]
        if len(lines) != len(watched) + lines.count("granted"):
            raise ValueError("says something else")
        words = watched[0] if watched else []
        if len(words) != 4 or not all(word.isdigit() for word in words):
            return Scripts("granted" in lines)
        return Scripts("granted" in lines, True, *map(int, words))


def question(settings: Settings) -> dict[str, object]:
    """The arguments of `ScriptUse` for these settings: the app's users file of each mode."""
    own = settings.redis_own_dir
    files = (f"/etc/{settings.redis_package}/users.acl", f"{own}/mounted/users.acl", f"{own}/users.acl")
    return {"acl_files": files, "user": settings.redis_user, "state": settings.redis_script_state}


def are_allowed(settings: Settings, scripts: Scripts) -> bool:
    """Whether the app's user gets EVAL."""
    if settings.redis_allow_eval != "auto":
        return settings.redis_allow_eval
    return scripts.granted and not _are_out_of_use(settings, scripts)


def _are_out_of_use(settings: Settings, scripts: Scripts) -> bool:
    is_fresh = scripts.is_watched and scripts.now - scripts.asked < _FRESH_SECONDS
    return is_fresh and scripts.now - max(scripts.since, scripts.used) >= settings.redis_eval_days * _DAY


def warning(settings: Settings, scripts: Scripts) -> str:
    """What to tell the operator while the app may run scripts."""
    danger = f"the app may still run scripts (EVAL), so {settings.redis_user}'s password can stop Redis for everybody"
    if settings.redis_allow_eval is True:
        return f"{danger}: redis_allow_eval = True"
    seen = "none was seen yet" if not scripts.used else f"the last was seen {_ago(scripts.now - scripts.used)} ago"
    watched = (
        f"watched for {_ago(scripts.now - scripts.since)}, {seen}" if scripts.is_watched else "watched from now on"
    )
    return (
        f"{danger}: {watched}. It ends by itself at the first deploy after {settings.redis_eval_days} days without one;"
        " to have that, build the app anew with the module of this version"
    )


def _ago(seconds: int) -> str:
    return f"{seconds // _DAY} days" if seconds >= 2 * _DAY else f"{max(seconds, 0) // 3600} h"
