"""What lists a deploy or a removal finds on a host, before the first change on any."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterator, Mapping

from pyinfra.api import Host

from provision.engine.preflight import PreflightError
from provision.record import layout, removal, undo
from provision.record.operations import Lists, readable
from provision.settings import Settings


def neighbours(
    host: Host, settings: Settings, environment: str, groups: Collection[str]
) -> Mapping[str, layout.Listed]:
    """What deploys of other apps have listed on the host, by app_name.

    Raise PreflightError where the host is another environment's, a directory is where another app has its data, or
    what is called after this app is what is called after another: app `clinic-backup` beside the backups of `clinic`.
    """
    path = layout.path(settings)
    answer = host.get_fact(Lists, path=path, journal=layout.journal(settings))
    objection = _of_another_environment(path, answer.text, environment)
    others = readable(answer.others)
    for role, setting, wanted in (
        ("backup", "backup_dir", settings.backup_dir),
        ("vault", "vault_dir", settings.vault_dir),
    ):
        if role in groups:
            objection = objection or _in_anothers(role, setting, wanted, others, f"ENV={environment} LIMIT={host.name}")
    objection = objection or _of_anothers_name(settings, groups, others)
    if objection:
        raise PreflightError(f"{host.name}: {objection}; no host was changed")
    return others


def _of_anothers_name(settings: Settings, groups: Collection[str], others: Mapping[str, layout.Listed]) -> str | None:
    for ours, kind, name in _called_after(settings):
        for app, listed in others.items() if ours in groups else ():
            for role, of in listed.of.items():
                is_persons_own = kind == "user" and ours == role == "app"  # such as www-data
                taken = of["users"] | of["groups"] if kind == "user" else of["directories"]
                if name in taken and not is_persons_own:
                    return (
                        f"the {kind} {name} is what the app {app} has for its role {role}, says its"
                        f" {layout.path_of(app)}, and {settings.app_name} would have the same: give one of them another"
                        " app_name"
                    )
    return None


def _called_after(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """By role the users and the directories that nobody else may have."""
    yield "app", "user", settings.app_user
    yield "redis", "user", settings.redis_exporter_user
    yield "redis", "directory", settings.redis_own_dir
    if settings.redis_mode == "instance":
        yield "redis", "user", settings.redis_system_user
    for user in (settings.backup_user, settings.backup_restore_test_user, settings.backup_outbox_group):
        yield "backup", "user", user
    for directory in (settings.backup_config_dir, settings.backup_program_dir, settings.backup_log_dir):
        yield "backup", "directory", directory
    yield "backup", "directory", settings.backup_state_dir
    yield "vault", "user", settings.vault_user
    yield "vault", "user", settings.backup_restore_test_user
    yield "vault", "directory", settings.vault_config_dir


def _of_another_environment(path: str, text: str, environment: str) -> str | None:
    (listed,) = readable({path: text}).values() or (layout.Listed(),)
    if listed.environment in ("", environment):
        return None
    renamed = f'"environment": "{listed.environment}"', f'"environment": "{environment}"'
    return (
        f"this host belongs to the environment {listed.environment}, says its {path}, and this is {environment}: two"
        " environments of one app need hosts of their own, or an app_name each. If the environment was only renamed:"
        f" `sed -i 's/{renamed[0]}/{renamed[1]}/' {path}` there"
    )


def _in_anothers(role: str, setting: str, wanted: str, others: Mapping[str, layout.Listed], where: str) -> str | None:
    for app, listed in others.items():
        has = listed.of.get(role, layout.things({}))["data"]
        if removal.is_data(wanted, has) or any(removal.is_data(each, [wanted]) for each in has):
            return (
                f"{setting} = {wanted!r}, and the app {app} has its own there, says its {layout.path_of(app)}: choose"
                f" another directory. If app_name was {app!r} before: `make remove {where} ROLE={role} APP={app}`"
                " first, which keeps its data"
            )
    return None


def asked(host: Host) -> undo.Wanted:
    """What this process was asked to remove. Raise PreflightError where that was nothing."""
    if undo.wanted is None:
        raise PreflightError(f"{host.name}: what is to be removed? Say it by `make remove`; no host was changed")
    return undo.wanted


def going(host: Host, wanted: undo.Wanted) -> tuple[str, layout.Listed, removal.Removal | None]:
    """Where the host's list lies, what it says, and what goes by it; None where it has nothing of that role.

    Raise PreflightError for a list that cannot be read, or that does not tell roles apart.
    """
    path = layout.path_of(wanted.app)
    answer = host.get_fact(Lists, path=path, journal=posixpath.join(posixpath.dirname(path), "journal"))
    try:
        listed = layout.read(answer.text, answer.journal)
        others = [layout.read(text) for text in answer.others.values()]
    except ValueError as error:
        raise PreflightError(
            f"{host.name}: {path}, or the list of another app beside it, {error}; no host was changed. Fix or remove"
            " it: a deploy writes it anew"
        ) from None
    if any(listed.ours.values()) and not listed.of and not listed.left:
        raise PreflightError(
            f"{host.name}: {path} is of version {listed.version or 'unknown'}, which did not record which role"
            f" each entry belongs to; no host was changed. Deploy once with this version, then remove"
        )
    found = removal.removal(listed, wanted.role, others)
    return path, listed, None if found.empty else found
