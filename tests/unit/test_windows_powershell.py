"""PowerShell as it is sent: nothing in a string is expanded, nothing is cut, every code page is survived."""

from __future__ import annotations

import base64
import json
import re

import pytest

from provision.windows import snippets
from provision.winssh import powershell

HOSTILE = [
    "plain", "", "it's", "''", "\u2018\u2019\u201a\u201b", "$env:PATH $(Remove-Item x)", "`n`0", "%PATH%",
    '"double"', "a;b|c&d", "C:\\Été & Cie\\", "日本語 \U0001f600", "line\nbreak", "\\", "{0}", "@'\n'@",
]  # fmt: skip


def _read_single_quoted(text: str) -> str:
    """A single-quoted string as PowerShell's tokenizer reads it: any of five marks ends it, doubled it stays."""
    marks = "'\u2018\u2019\u201a\u201b"
    assert text[0] in marks
    value, at = "", 1
    while at < len(text):
        if text[at] in marks:
            if at + 1 < len(text) and text[at + 1] in marks:
                value, at = value + text[at], at + 2
                continue
            assert at == len(text) - 1, "the string ended early: what follows would be run"
            return value
        value, at = value + text[at], at + 1
    raise AssertionError("the string never ends")


@pytest.mark.parametrize("text", HOSTILE)
def test_a_quoted_string_is_read_back_whole(text):
    assert _read_single_quoted(powershell.quote(text)) == text


def test_a_nul_character_is_refused():
    with pytest.raises(ValueError, match="NUL"):
        powershell.quote("a\x00b")


@pytest.mark.parametrize("text", HOSTILE)
def test_an_encoded_script_is_decoded_whole(text):
    assert powershell.decode(powershell.encode(text)) == text


@pytest.mark.parametrize("text", HOSTILE)
def test_a_script_reads_its_arguments_back_as_they_were(text):
    script = snippets.script("paths", {"paths": [text]})
    literal = re.search(r"-InputObject ('.*')$", script, re.MULTILINE)[1]
    assert literal.isascii()
    assert json.loads(_read_single_quoted(literal)) == {"paths": [text]}


@pytest.mark.parametrize("name", snippets.names())
def test_every_script_fits_on_a_command_line(name):
    assert len(powershell.command(snippets.script(name, {}))) <= 8191


def test_a_command_line_is_never_longer_than_cmd_takes():
    for length in (2_800, 2_950, 3_100, 50_000):
        line = powershell.command("#" * length)
        assert line is None or len(line) < 8191
    assert powershell.command("#" * 2_900) is not None
    assert powershell.command("#" * 3_100) is None


def test_a_script_file_begins_with_its_mark_and_ends_lines_as_windows_does():
    raw = powershell.file_bytes("a\nb\r\nc")
    assert raw == b"\xef\xbb\xbfa\r\nb\r\nc"


@pytest.mark.parametrize("raw", ["déjà vu €".encode("cp1252"), "déjà vu".encode("cp850"), b"\xff\xfe\x00", b"\x80\r\n"])
def test_a_legacy_code_page_cannot_stop_the_reader(raw):
    assert "\r" not in powershell.text(raw) and "\n" not in powershell.text(raw)


def test_an_answer_is_found_among_other_output():
    payload = {"path": "C:\\Été", "list": [1]}
    line = "winssh:" + base64.b64encode(json.dumps(payload).encode()).decode()
    assert powershell.answer(["a profile's greeting", line, "D\ufffdj\ufffd vu"]) == payload


@pytest.mark.parametrize("lines", [[], ["sh: powershell: not found"]])
def test_no_answer_is_an_error_that_shows_what_came(lines):
    with pytest.raises(ValueError, match="no answer" + (".*not found" if lines else "")):
        powershell.answer(lines)


def test_error_records_are_unwrapped():
    wrapped = ["#< CLIXML", '<Objs Version="1.1.0.1"><S S="Error">Acc&#232;s refus_x00E9__x000D__x000A_</S></Objs>']
    assert powershell.plain_errors(wrapped) == ["Accès refusé"]
    assert powershell.plain_errors(["as it is"]) == ["as it is"]
