"""Settings with secrets that nothing else looks like, and a project of its own that a test may fill."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from provision.engine import environments, inventory
from provision.settings import OPTIONAL_SECRETS, SECRET_SETTINGS, Fault, Settings, check, secrets

SECRETS = {name: f"zq-{name}-9f3" for name in SECRET_SETTINGS}


@pytest.fixture
def secret_texts() -> dict[str, str]:
    return dict(SECRETS)


@pytest.fixture
def settings_of() -> Callable[..., Settings]:
    """`settings_of(redis_port=6380)`: valid Settings, or the test fails with their faults."""

    def make(**values: object) -> Settings:
        texts = {**SECRETS, **{name: values.pop(name) for name in SECRET_SETTINGS if name in values}}
        texts |= {name: str(values[name]) for name in OPTIONAL_SECRETS if name in values}
        checked = check(values, lambda name, _: SecretStr(texts[name]))
        assert isinstance(checked, Settings), checked
        return checked

    return make


@pytest.fixture
def faults_of() -> Callable[..., list[Fault]]:
    """`faults_of(redis_port=70000)`: what is wrong with these values."""

    def make(**values: object) -> list[Fault]:
        checked = check(values, lambda name, _: SecretStr(SECRETS[name]))
        assert isinstance(checked, list), "these settings are valid"
        return checked

    return make


class Project:
    """A directory with inventories, group data and secrets, in place of this one."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, path: str, text: str | bytes, mode: int = 0o600) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        file.chmod(mode)
        return file

    def environment(self, inventory_text: str, name: str = "staging", **group_data: str) -> None:
        """An environment with all its secrets, and a Redis that its hosts share."""
        self.write(f"inventories/{name}.py", inventory_text)
        everywhere = group_data.pop("all", "") + '\nredis_host = "10.0.0.5"\n'
        for group, text in {**group_data, "all": everywhere}.items():
            self.write(f"inventories/group_data/{group}.py", text)
        self.write(f".secrets/{name}.env", "".join(f"{key}={value}\n" for key, value in SECRETS.items()))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setattr(secrets, "PROJECT", tmp_path)
    monkeypatch.setattr(inventory, "PROJECT", tmp_path)
    monkeypatch.setattr(environments, "PROJECT", tmp_path)
    monkeypatch.setattr("provision.commands.keys.PROJECT", tmp_path)
    monkeypatch.setattr("provision.vault.keys.PROJECT", tmp_path)
    monkeypatch.setattr(environments, "INVENTORIES", tmp_path / "inventories")
    return Project(tmp_path)
