"""The first stage of a deploy with a vault: keys are made where they stay, and their public halves kept here.

`make deploy` runs it where inventories/keys/ENVIRONMENT/ lacks a key; by hand it is `pyinfra INVENTORY vault-keys.py`.
What is built on these keys is rendered only afterwards, by deploy.py.
"""

from pyinfra import host, state
from pyinfra.operations import python

from provision.debian.lock import locked
from provision.debian.preflight import platform
from provision.engine import environments
from provision.engine.preflight import member as member_of
from provision.engine.preflight import one_host
from provision.record.role import begin
from provision.vault import keys
from provision.vault.preflight import found, refuse_offline_key
from provision.vault.role import vault_keys


def keep_public_halves() -> None:
    keys.keep(environments.environment_of(host.groups), member, found(host, member))


with one_host(host, state):
    member = member_of(host, state)
    platform(host)
    locked(host)
    if "vault" in member.groups:
        refuse_offline_key(host, member, found(host, member))
        begin(settings=member.settings)
        vault_keys(settings=member.settings)
    if keys.kinds_of(member):
        python.call(name="Keep the public halves of the host's keys", function=keep_public_halves)
