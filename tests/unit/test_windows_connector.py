"""The connector's pure parts, and that it can hurt nobody who has no Windows host."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from provision.winssh.connector import WinSSHConnector, plain_ssh_to_windows, sftp_path, windows_path

PROJECT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("windows", "sftp"),
    [("C:\\dir\\a b.txt", "/C:/dir/a b.txt"), ("D:\\Été\\x", "/D:/Été/x"), ("/C:/already", "/C:/already")],
)
def test_a_path_is_named_as_sftp_names_it(windows, sftp):
    assert sftp_path(windows) == sftp


def test_a_path_of_sftp_is_named_as_windows_names_it():
    assert windows_path("/C:/Users/Jean Dupont/x.ps1") == "C:\\Users\\Jean Dupont\\x.ps1"


def test_windows_behind_plain_ssh_is_told_what_to_write():
    assert "list it as @winssh/NAME" in plain_ssh_to_windows("SSH-2.0-OpenSSH_for_Windows_9.5")
    assert plain_ssh_to_windows("SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3") is None


def test_a_host_keeps_its_plain_name():
    assert list(WinSSHConnector.make_names_data("win1")) == [("win1", {"ssh_hostname": "win1"}, [])]
    with pytest.raises(ValueError, match="name of a Windows host is missing"):
        list(WinSSHConnector.make_names_data(""))


def test_loading_it_loads_no_settings_no_templates_no_operations():
    """pyinfra loads every registered connector at start: an error in one of those would break all of it."""
    code = (
        "import sys, provision.winssh.connector\n"
        "print(sorted(name for name in sys.modules if name.startswith('provision.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(["provision.winssh", "provision.winssh.connector", "provision.winssh.powershell"])
