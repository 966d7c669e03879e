"""Text for a command's standard input: pyinfra sends it whole, and nothing shows it."""

from __future__ import annotations

from io import BytesIO

import pytest
from pyinfra.api.util import get_kwargs_str
from pyinfra.connectors.util import write_stdin

from provision.engine.private import PrivateInput

HIDDEN = "zq-hidden-9f3"


class Kept(BytesIO):
    """A standard input whose bytes can be looked at when it was closed."""

    def close(self) -> None:
        pass


@pytest.mark.parametrize("text", ["one\n", "one\ntwo\n", "\n", "crlf\r\nend\n", "épicé\n", "a\n\n\nb\n"])
def test_what_pyinfra_sends_is_the_text_to_the_byte(text: str):
    sent = Kept()
    write_stdin(PrivateInput(text), sent)
    assert sent.getvalue() == text.encode()


@pytest.mark.parametrize("show", [repr, str, "{}".format, "%s".__mod__, lambda it: get_kwargs_str({"_stdin": it})])
def test_nothing_shows_the_text(show):
    assert HIDDEN not in show(PrivateInput(HIDDEN))
