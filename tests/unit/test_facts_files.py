"""What lies at a path is told in one language, whatever the host's is."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from provision.debian.files import Paths


def test_kinds_are_told_in_english_on_a_french_host(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    paths = (str(tmp_path), str(tmp_path / "file"))
    french = {**os.environ, "LC_ALL": "C.UTF-8", "LANGUAGE": "fr"}
    command = Paths().command(paths=paths).get_raw_value()
    printed = subprocess.run(["sh", "-c", command], env=french, capture_output=True, text=True, check=True).stdout
    found = Paths().process(printed.splitlines())
    assert [found[path].kind for path in paths] == ["directory", "regular file"]
