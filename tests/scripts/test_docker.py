"""PostgreSQL in a container. `docker` is a stand-in that runs the programs here, as strictly as Docker would.

It passes on no environment, no shell and no terminal, knows one service and one image, and maps the mounted
password file. What real Docker adds is shown in the sandbox.
"""

from __future__ import annotations

import pytest

from .cluster import PASSWORD, bin_dir, fingerprint
from .host import Host

STAND_IN = r"""
said() { printf '%s\n' "$*" >> "@state@/docker-said"; }
said "$*"
inside() {
    @inside@
    exec env -i PATH="@bin@:/usr/bin:/bin" LC_ALL=C.UTF-8 "$@"
}
case "$1 $2" in
    "compose --file")
        [[ "${*:3:5}" == "/srv/app/compose.yml --project-directory /srv/app exec -T" ]] || exit 64
        [[ $8 == "@service@" ]] || { echo "service \"$8\" is not running" >&2; exit 1; }
        inside PGHOST=@socket@ PGPORT=@port@ "${@:9}" ;;
    "run --rm")
        shift 2; passfile=''
        while [[ $1 == --* ]]; do
            case $1 in
                --interactive) shift ;;
                --volume) [[ $2 == *:/run/pgpass:ro ]] || exit 64; passfile=${2%:/run/pgpass:ro}; shift 2 ;;
                --env) [[ $2 == PGPASSFILE=/run/pgpass ]] || exit 64; shift 2 ;;
                --network) [[ $2 == medaction-network ]] || { echo "network $2 not found" >&2; exit 125; }; shift 2 ;;
                --label | --user) shift 2 ;;
                *) exit 64 ;;
            esac
        done
        [[ $1 == postgres:test ]] || { echo "No such image: $1" >&2; exit 125; }
        inside PGPASSFILE="$passfile" "${@:2}" ;;
    "ps --quiet") exit 0 ;;
    *) echo "the stand-in knows no docker $*" >&2; exit 64 ;;
esac
"""


def in_docker(host: Host, mode: str, service: str = "postgres", inside: str = "", **settings: object) -> None:
    script = STAND_IN
    known = {"state": host.directory / "state", "bin": bin_dir(), "socket": host.cluster.directory,
             "port": host.cluster.port, "service": service,
             "inside": inside.replace('"$@"', f'env PATH="{bin_dir()}:$PATH" "$@"')}  # fmt: skip
    for name, value in known.items():
        script = script.replace(f"@{name}@", str(value))
    host.shim("docker", script)
    host.configure(
        postgres_mode=mode, postgres_compose_file="/srv/app/compose.yml", postgres_image="postgres:test", **settings
    )


MODES = ["compose", "container"]


@pytest.mark.parametrize("form", ["plain", "custom"])
@pytest.mark.parametrize("mode", MODES)
def test_dump_from_a_container_restores_equal_to_the_source(host: Host, mode: str, form: str) -> None:
    in_docker(host, mode, backup_format=form)
    done = host.backup()
    assert done.returncode == 0, done.stderr
    target = host.cluster.new_database(template="template0")
    restored = host.restore("--into", target)
    assert restored.returncode == 0, restored.stderr
    assert fingerprint(host.cluster, target) == fingerprint(host.cluster, host.database)
    assert host.backup("--verify").returncode == 0
    said = (host.directory / "state/docker-said").read_text()
    assert PASSWORD.startswith("p@ss")
    assert not [form for form in ("p@ss", "p%40ss", "PGPASSWORD") if form in said]


@pytest.mark.fault
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fault", ["absent", "stopped mid-dump", "docker missing"])
def test_container_that_is_not_there_fails_like_any_fault(host: Host, mode: str, fault: str) -> None:
    in_docker(host, mode)
    host.good_backup()
    before = host.published()
    if fault == "absent":
        in_docker(host, mode, service="renamed", postgres_network="gone-network")
    elif fault == "stopped mid-dump":
        in_docker(host, mode, inside='[[ $* != *--snapshot* ]] || { "$@" | head -c 500000; exit 137; }')
    else:
        host.shim("docker", "echo 'Cannot connect to the docker daemon' >&2; exit 1")
    done = host.backup()
    assert done.returncode == 1, done.stderr
    assert host.published() == before
    assert host.status()["state"] == "failed" and host.status()["message"] in host.told.read_text()
    in_docker(host, mode)
    host.good_backup()
