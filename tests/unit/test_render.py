"""Templates to text, and each quoting filter read back by the program that it quotes for."""

from __future__ import annotations

import os
import random
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from jinja2 import UndefinedError
from pydantic import SecretStr

from provision.settings import Settings, render

ValidSettings = Callable[..., Settings]

AWKWARD = [
    "p@ss:/?#[]!$&'()*+,;=% \"\\",
    "mot de passe épicé",
    "日本語 🔑",
    " edges ",
    "'",
    "\\",
    "$HOME `id`",
    "-n",
    "a\\nb",
]
_dice = random.Random(9)
_SIGNS = "abc XYZ 019 !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ éüß日🔑"
GENERATED = ["".join(_dice.choice(_SIGNS) for _ in range(_dice.randrange(1, 25))) for _ in range(150)]
TEXTS = [*AWKWARD, *GENERATED]


@pytest.fixture
def templates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(render._environment, "loader", type(render._environment.loader)(tmp_path))
    return tmp_path


def test_a_template_sees_the_settings_and_what_is_derived_from_them(templates: Path, settings_of: ValidSettings):
    (templates / "t").write_text("{{ app_name }} {{ backup_daily.cron }} {{ extra }}\n")
    assert render.render("t", settings_of(), extra="more") == "medaction 0 2 * * * more\n"


@pytest.mark.parametrize("name", ["redis_prot", "model_fields_set", "model_config", "no_such"])
def test_a_name_that_is_no_setting_is_an_error(name: str, templates: Path, settings_of: ValidSettings):
    (templates / "t").write_text(f"{{{{ {name} }}}}")
    with pytest.raises(UndefinedError):
        render.render("t", settings_of())


def test_a_secret_shows_as_stars_unless_it_is_revealed(
    templates: Path, settings_of: ValidSettings, secret_texts: dict[str, str]
):
    (templates / "t").write_text("{{ redis_password }} {{ redis_password | reveal }}")
    assert render.render("t", settings_of()) == f"********** {secret_texts['redis_password']}"


@pytest.mark.parametrize("quote", [render.sh, render.url, render.pgpass, render.sha256])
def test_no_filter_takes_a_secret_that_was_not_revealed(quote: Callable[[object], str]):
    with pytest.raises(TypeError, match="reveal"):
        quote(SecretStr("x"))


@pytest.mark.parametrize("quote", [render.sh, render.url, render.pgpass])
def test_every_filter_takes_a_number(quote: Callable[[object], str]):
    assert quote(6379).strip("\"'") == "6379"


def test_a_shell_reads_every_word_back():
    words = " ".join(render.sh(text) for text in TEXTS)
    done = subprocess.run(["sh", "-c", f"printf '%s\\n' {words}"], capture_output=True, check=True, encoding="utf-8")
    assert done.stdout.split("\n")[:-1] == TEXTS


def test_a_url_gives_user_password_and_database_back():
    for text in TEXTS:
        quoted = render.url(text)
        parts = urlsplit(f"postgresql://{quoted}:{quoted}@host:5432/{quoted}")
        assert [unquote(part or "") for part in (parts.username, parts.password, parts.path[1:])] == [text] * 3
        assert (parts.hostname, parts.port) == ("host", 5432)


def test_a_url_part_holds_nothing_that_another_language_would_read():
    assert not [text for text in TEXTS if re.search(r"[^A-Za-z0-9%._~-]", render.url(text))]


# --- pgpass -------------------------------------------------------------------------------------------


class AskingServer:
    """Speaks as much of PostgreSQL's protocol as it takes to be sent a password, and notes it."""

    def __init__(self) -> None:
        self.passwords: list[str] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as stream:
                length = int.from_bytes(stream.read(4))
                stream.read(length - 4)  # the startup message
                connection.sendall(b"R" + (8).to_bytes(4) + (3).to_bytes(4))  # AuthenticationCleartextPassword
                if stream.read(1) == b"p":
                    self.passwords.append(stream.read(int.from_bytes(stream.read(4)) - 4)[:-1].decode())

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(scope="module")
def server() -> Iterator[AskingServer]:
    asking = AskingServer()
    yield asking
    asking.close()


@pytest.mark.parametrize("text", [*AWKWARD, ":", "\\:", "a:b\\c", "#x", "*"])
def test_libpq_finds_the_password_of_its_user(text: str, tmp_path: Path, server: AskingServer):
    if shutil.which("psql") is None:
        pytest.skip("needs psql: libpq's own reading of a pgpass file is asked")
    file = tmp_path / "pgpass"
    user = text.strip() or "x"
    fields = ["127.0.0.1", server.port, "*", user, text]
    file.write_text("127.0.0.1:1:*:x:wrong\n" + ":".join(
        "*" if i == 2 else render.pgpass(field) for i, field in enumerate(fields)
    ) + "\n", encoding="utf-8")  # fmt: skip
    file.chmod(0o600)
    server.passwords.clear()
    environ = {"PATH": os.environ["PATH"], "PGPASSFILE": str(file), "PGSSLMODE": "disable", "PGGSSENCMODE": "disable"}
    target = ["-h", "127.0.0.1", "-p", str(server.port), "-U", user, "-d", "postgres"]
    subprocess.run(["psql", "-X", "-w", *target, "-c", ""], env=environ, capture_output=True, check=False, timeout=10)
    assert server.passwords == [text]


def test_a_hash_is_that_of_the_utf8_text():
    assert render.sha256("é") == "4a99557e4033c3539de2eb65472017cad5f9557f7a0625a09f1c3f6e2ba69c4c"
