"""Take a role away from hosts: `make remove ENV=... LIMIT=... ROLE=...` has pyinfra run this once for each host.

All that is taken away stands in the list that deploys have left on the host itself.
"""

from pyinfra import host, state

from provision.debian.lock import locked
from provision.debian.preflight import platform
from provision.engine.preflight import member as member_of
from provision.engine.preflight import one_host
from provision.record.preflight import asked, going
from provision.record.role import remove
from provision.windows.lock import locked as windows_locked
from provision.windows.preflight import going as windows_going
from provision.windows.role import windows_remove

with one_host(host, state):
    settings = member_of(host, state).settings
    wanted = asked(host)
    if platform(host).is_windows:
        windows_locked(host)
        there = windows_going(host, settings, wanted)
        if there is not None:
            windows_remove(
                settings=settings, listed=there[0], going=there[1], role=wanted.role, with_data=wanted.delete_data
            )
    else:
        locked(host)
        path, listed, found = going(host, wanted)
        if found is not None:
            remove(going=found, listed=listed, role=wanted.role, path=path, with_data=wanted.delete_data)
