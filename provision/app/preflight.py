"""What a person should know of the app's variables before the first change."""

from __future__ import annotations

from pyinfra.api import Host

from provision.app import layout, readers
from provision.engine.changes import warn
from provision.settings import Settings


def variables_told(host: Host, settings: Settings) -> None:
    """Warn of each variable that not all who read `.env` take for what the settings say."""
    for name, value in layout.values(settings).items():
        if sentence := readers.told(name, value):
            warn(host, f"{layout.env_file(settings)}: {sentence}")
