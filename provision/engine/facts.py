"""What is asked of a host, and what happens when the answer is not one.

pyinfra gives a fact whatever the host's shell printed, a login banner first, and takes a `FactProcessError` for one
failed host; any other exception in a fact's `process` ends the run for all hosts. Here an answer begins after a mark,
and whatever goes wrong in reading it is a FactProcessError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar, final

import gevent
from pyinfra.api import FactBase, QuoteString, StringCommand
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

T = TypeVar("T")
MARK = "==answer=="


class Fact(FactBase[T], Generic[T]):
    """A question to a host. Subclasses have a `command` that returns `asked(...)`, and read the answer's lines."""

    abstract = True

    @override
    @final
    def process(self, output: list[str]) -> T:
        """Read the answer. Raise FactProcessError with a sentence, without what the host printed: it may be secret."""
        try:
            return self.read(self.answer_in(output))
        except FactProcessError:
            raise
        except Exception as error:
            raise FactProcessError(
                f"the host's answer cannot be read ({type(error).__name__} in {len(output)} line(s)):"
                " see what its shell and its commands print there (-vvv shows it)"
            ) from None

    def answer_in(self, output: list[str]) -> list[str]:
        """The lines after the mark."""
        if MARK not in output:
            raise FactProcessError(
                f"the host printed {len(output)} line(s) and no answer: see what its login shell does with a command"
            )
        return output[output.index(MARK) + 1 :]

    def read(self, lines: list[str]) -> T:
        """Make of the answer's lines what the fact promises. Raise any exception for what is no answer."""
        raise NotImplementedError


class YesOrNo(Fact[bool]):
    """A question that its command answers with "yes", or with "no" or nothing."""

    abstract = True

    @staticmethod
    @override
    def default() -> bool:
        return False

    @override
    def read(self, lines: list[str]) -> bool:
        if set(lines) - {"", "no", "yes"}:
            raise ValueError(len(lines))
        return "yes" in lines


class Lines(Fact[list[str]]):
    """A question whose answer is lines, whatever they say; none where it failed."""

    abstract = True

    @staticmethod
    @override
    def default() -> list[str]:
        return []

    @override
    def read(self, lines: list[str]) -> list[str]:
        return lines


def asked(*words: str | QuoteString | StringCommand) -> StringCommand:
    """A fact's command, its answer marked."""
    return StringCommand(f"echo {MARK};", *words)


def side_by_side(questions: Iterable[Callable[[], T]]) -> list[T]:
    """The answers, in order: one that takes its time keeps no other waiting. Raise the first error."""

    def answer(question: Callable[[], T]) -> T | Exception:
        try:
            return question()
        except Exception as error:  # raised in there, gevent would print it with a traceback besides
            return error

    answers: list[T] = []
    for job in [gevent.spawn(answer, each) for each in questions]:
        said = job.get()
        if isinstance(said, Exception):
            raise said
        answers.append(said)
    return answers
