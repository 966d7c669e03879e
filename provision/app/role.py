"""What the app finds on its host: its user, its directory, its `.env`, its limiters."""

from __future__ import annotations

from pyinfra.api.deploy import deploy

from provision.app import layout
from provision.app import operations as dotenv
from provision.debian import files, packages, users
from provision.engine import claims
from provision.settings import Settings


@deploy("App", {"role": "app"})
def app(settings: Settings) -> None:
    claims.needed("data", [layout.env_file(settings), f"{layout.env_file(settings)}.previous"])
    packages.installed(name="Install redis-cli, to ask Redis from where the app stands", names=["redis-tools"])
    users.service_user(name="Create the user that the app runs as", user=settings.app_user, home=settings.app_dir)
    files.placed(name="Lay out the app's directory and its rate limiters", entries=layout.files(settings))
    dotenv.variables_set(
        name="Set the app's variables in .env, keeping every other line",
        path=layout.env_file(settings), variables=layout.variables(settings),
        user="root", group=settings.app_user, within=[layout.directory(settings, settings.app_user)],
    )  # fmt: skip
