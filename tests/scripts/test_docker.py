"""PostgreSQL in a container. `docker` is a stand-in that runs the programs here, as strictly as Docker would.

It passes on no environment, no shell and no terminal, knows one service and one image, and maps the mounted
password file. What real Docker and sudo add is shown in the sandbox.
"""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from provision.backup import layout

from .cluster import PASSWORD, ROLE, bin_dir, fingerprint
from .host import Host
from .unprivileged import PREFIX, give_to_user

STAND_IN = r"""
said() { printf '%s\n' "$*" >> "@state@/docker-said"; }
said "$*"
inside() {
    @inside@
    exec env -i PATH="@bin@:/usr/bin:/bin" LC_ALL=C.UTF-8 "$@"
}
label=com.docker.compose
case "$1 $2" in
    "ps --quiet")
        [[ " $* " != *" --filter label=$label.service=@service@ "* ]] || echo feed5 ;;
    "inspect feed5")
        printf '[{"Id": "feed5", "Config": {"Labels": {"%s": "app", "%s": "/srv/app"}}}]' \
            "$label.project" "$label.project.working_dir" ;;
    "exec --interactive")
        [[ "${*:3:3}" == "--user 65534:65534 feed5" ]] || exit 64
        inside PGHOST=@socket@ PGPORT=@port@ "${@:6}" ;;
    "run --rm")
        shift 2; passfile='' entry='' mounted=:
        while [[ $1 == --* ]]; do
            case $1 in
                --interactive | --read-only) shift ;;
                --volume) [[ $2 == *:ro ]] || exit 64; mounted+=$2:
                    [[ $2 != *:/run/pgpass:ro ]] || passfile=${2%:/run/pgpass:ro}; shift 2 ;;
                --env) [[ $2 == PGPASSFILE=/run/pgpass ]] || exit 64; shift 2 ;;
                --network) [[ $2 == medaction-network ]] || { echo "network $2 not found" >&2; exit 125; }; shift 2 ;;
                --entrypoint) entry=$2; shift 2 ;;
                --label | --user | --cap-drop | --security-opt | --pids-limit | --ulimit) shift 2 ;;
                *) exit 64 ;;
            esac
        done
        [[ $1 == postgres:test ]] || { echo "No such image: $1" >&2; exit 125; }
        root=$(sed -n "s/.* sslrootcert='\([^']*\)'.*/\1/p" <<<"$*")
        [[ -z $root || $mounted == *":$root:$root:ro:"* ]] || { echo "no root certificate file $root" >&2; exit 2; }
        inside PGPASSFILE="$passfile" "$entry" "${@:2}" ;;
    *) echo "the stand-in knows no docker $*" >&2; exit 64 ;;
esac
"""
# It becomes nobody else, and keeps nothing of the caller's environment.
SUDO = r"""
[[ "$1 $2" == "--non-interactive @helper@" ]] || { echo "sudo: a password is required" >&2; exit 1; }
shift; exec env -i HOSTILE=1 "$@"
"""


def in_docker(host: Host, mode: str, service: str = "postgres", inside: str = "", **settings: object) -> None:
    script = STAND_IN
    host.configure(
        postgres_mode=mode, postgres_compose_file="/srv/app/compose.yml", postgres_image="postgres:test", **settings
    )
    helper = Path(layout.program(host.settings, "postgres-in-container.sh"))
    known = {"state": host.directory / "state", "bin": bin_dir(), "socket": host.cluster.directory,
             "port": host.cluster.port, "service": service,
             "inside": inside.replace('"$@"', f'env PATH="{bin_dir()}:$PATH" "$@"')}  # fmt: skip
    for name, value in known.items():
        script = script.replace(f"@{name}@", str(value))
    host.shim("docker", script)
    host.shim("sudo", SUDO.replace("@helper@", str(helper)))
    # Here nobody is root, and Docker is not where it is on a host.
    text = helper.read_text(encoding="utf-8")
    assert "\nPATH=" in text and "EUID == 0" in text
    helper.write_text(text.replace("\nPATH=", f"\nPATH={host.shims}:").replace("EUID == 0", "EUID >= 0"))


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


@pytest.mark.parametrize("mode", MODES)
def test_what_is_left_out_of_a_dump_is_left_out_of_one_from_a_container(host: Host, mode: str) -> None:
    host.cluster.ask(host.database, """CREATE TABLE "the ""log"" of 2025" AS SELECT 1 AS i""", user=ROLE)
    host.cluster.ask(host.database, "CREATE TABLE sessions AS SELECT 1 AS i", user=ROLE)
    in_docker(host, mode, backup_exclude=['table:public."the ""log"" of 2025"', "data:public.sessions"])
    text = gzip.decompress(host.good_backup().read_bytes()).decode()
    assert 'the ""log""' not in text and "CREATE TABLE public.sessions" in text
    assert "COPY public.sessions" not in text and "COPY public.patients" in text


@pytest.mark.parametrize("mode", MODES)
def test_custom_dump_is_restored_without_owners_through_a_containers_standard_input(host: Host, mode: str) -> None:
    in_docker(host, mode, backup_format="custom")
    host.good_backup()
    target = host.cluster.new_database(template="template0")
    restored = host.restore("--into", target, "--no-owner")
    assert restored.returncode == 0, restored.stderr
    assert fingerprint(host.cluster, target) == fingerprint(host.cluster, host.database)


@pytest.mark.parametrize("form", ["plain", "custom"])
def test_a_containers_server_without_the_dumps_tablespaces_takes_the_dump(host: Host, form: str) -> None:
    cluster, place = host.cluster, host.directory / "disk"
    place.mkdir(mode=0o700)
    give_to_user(place)
    cluster.ask("postgres", f"CREATE TABLESPACE away LOCATION '{place}'")
    cluster.ask("postgres", f"GRANT CREATE ON TABLESPACE away TO {ROLE}")
    try:
        cluster.ask(host.database, "CREATE TABLE kept TABLESPACE away AS SELECT 1 AS i", user=ROLE)
        in_docker(host, "container", backup_format=form)
        assert host.backup().returncode == 0
        cluster.ask(host.database, "ALTER TABLE kept SET TABLESPACE pg_default")
    finally:
        cluster.ask("postgres", f"REVOKE ALL ON TABLESPACE away FROM {ROLE}")
        cluster.ask("postgres", "DROP TABLESPACE away")
    target = cluster.new_database(template="template0")
    restored = host.restore("--into", target)
    assert restored.returncode == 0 and "lacks the tablespaces away" in restored.stderr, restored.stderr
    assert cluster.ask(target, "TABLE kept") == "1"


@pytest.mark.parametrize("mode", MODES)
def test_what_a_persons_shell_says_of_tls_is_told_where_it_cannot_reach(host: Host, mode: str) -> None:
    in_docker(host, mode)
    done = host.backup(PGSSLMODE="verify-full")
    assert done.returncode == 0 and "PGSSLMODE=verify-full is passed over: no environment reaches" in done.stderr


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


# --- The helper that sudo calls: what is not known to be asked for is refused -------------------------------

QUIET = [
    "--no-psqlrc", "--no-password", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1",
    "--set=VERBOSITY=terse", "--set=SHOW_CONTEXT=never",
]  # fmt: skip
LOADING = [*QUIET[:-2], "--set=VERBOSITY=verbose", "--set=SHOW_CONTEXT=errors", "--file=-"]
OWN = {"psql": QUIET, "load": LOADING}
MARK = "@mark@"  # what must never be made
HOSTILE_CALLS = [
    [], ["psql"], ["7"], ["7", "sh", "-c", f"touch {MARK}"], ["7", "psql;touch"], ["7", "createdb", "x"],
    ["x", "pg_dump", "--version"], ["7\n8", "end"], ["-1", "end"], ["7 --filter name=redis", "end"],
    ["7", "psql", *QUIET], ["7", "psql", "@good@"], ["7", "psql", *QUIET[1:], "@good@"],
    ["7", "load", *QUIET, "@good@"], ["7", "psql", *LOADING, "@good@"], ["7", "load", *LOADING[:-1], "@good@"],
    *(["7", program, *OWN.get(program, []), "@good@", *hostile]
      for program in ("psql", "load", "pg_dump", "pg_dumpall", "pg_restore")
      for hostile in (["--file=" + MARK], ["--file", MARK], ["-f", MARK], ["-f" + MARK], ["-o", MARK],
                      ["--output=" + MARK], ["--host=127.0.0.2"], ["--username=postgres"], ["--username", "postgres"],
                      ["-Upostgres"], ["postgres"], ["--"], ["--help"], ["--version"], ["--no-password\n"], [""],
                      ["--dbname=postgres"], ["--dbname=dbname=postgres user=postgres"],
                      ["--dbname=postgresql://postgres@127.0.0.1/postgres"], ["--dbname=@as_postgres@"],
                      ["--dbname=@other_host@"], ["--dbname=@with_options@"], ["--dbname=@with_newline@"])),
    *(["7", "psql", *QUIET, "@good@", hostile]
      for hostile in (rf"--command=\! touch {MARK}", rf"--command=\copy (SELECT 1) TO PROGRAM 'touch {MARK}'",
                      rf"--command=\o |touch {MARK}", "--set=x=1", "--variable=x=1", "--log-file=" + MARK, "-c")),
    ["7", "load", *LOADING, "@good@", "--command=SELECT 1"],
    *(["7", "pg_dump", "@good@", hostile]
      for hostile in ("--snapshot=$(id)", "--snapshot=1;id", "--lock-wait-timeout=1s\n", "--compress=9",
                      "--format=directory", "--jobs=2", "--compress=zstd:1\n", "--exclude-table=*",
                      '--exclude-table="a".*', "--exclude-extension=x", '--exclude-table-data="a"."b"*')),
    ["7", "pg_dumpall", "--globals-only", "--database=template1"],
    *(["7", "pg_restore", hostile]
      for hostile in ("--file=/tmp/x", "--file=-\n", "--use-list=/etc/passwd", "/etc/passwd")),
]  # fmt: skip
HOSTILE_TEXTS = [
    rf"\! touch {MARK}", rf"SELECT 1; \! touch {MARK}", rf"SELECT 1 \g |touch {MARK}", rf"\o {MARK}",
    f"\\set x `touch {MARK}`", rf"\copy (SELECT 1) TO PROGRAM 'touch {MARK}'", rf"\w {MARK}",
    rf"SELECT '\gexec \! touch {MARK}' \gexec \! touch {MARK}", rf"/* {chr(10)}\gexec{chr(10)} */ \! touch {MARK}",
    "COPY t FROM stdin;\n" + rf"\.{chr(10)}\! touch {MARK}", rf"\unrestrict x{chr(10)}\! touch {MARK}",
    rf"\restrict x{chr(10)}\unrestrict x{chr(10)}\! touch {MARK}", r"\connect - postgres", r"\i /etc/passwd",
]  # fmt: skip


def called(host: Host, arguments: list[str], text: str = "", **environment: str) -> subprocess.CompletedProcess:
    """The helper as its caller would have it at worst: with that environment, which sudo would have taken away."""
    helper = layout.program(host.settings, "postgres-in-container.sh")
    before = [shutil.which(PREFIX[0]), *PREFIX[1:]] if PREFIX else []
    return subprocess.run(
        [*before, helper, *arguments], input=text, text=True, capture_output=True, timeout=60, check=False,
        env={**host.environment, **environment},
    )  # fmt: skip


@pytest.fixture
def good(host: Host) -> str:
    """The argument that names the database, as a backup has just given it."""
    in_docker(host, "compose")
    host.good_backup()
    said = (host.directory / "state/docker-said").read_text()
    (host.directory / "state/docker-said").unlink()
    end = r"application_name=medaction-backup-\d+[a-z0-9_= ]*options='[^']*'"
    found = re.search(rf"--dbname=user='[\w-]+' dbname='\w+' {end}", said)
    assert found
    return re.sub(r"backup-\d+", "backup-7", found[0])


def spelt(argument: str, host: Host, good: str) -> str:
    variants = {
        "@good@": good, "--dbname=@as_postgres@": re.sub("user='[^']*'", "user='postgres'", good),
        "--dbname=@other_host@": good.replace("--dbname=", "--dbname=host='127.0.0.2' port=5432 "),
        "--dbname=@with_options@": f"{good} options='-c x.y=z'",
        "--dbname=@with_newline@": good.replace(" application_name", "\n application_name"),
    }  # fmt: skip
    return variants.get(argument, argument).replace(MARK, str(host.directory / "state/mark"))


def test_the_call_that_hostile_ones_differ_from_is_answered(host: Host, good: str) -> None:
    done = called(host, ["7", "psql", *QUIET, good, "--command=SELECT 6 * 7"])
    assert (done.returncode, done.stdout) == (0, "42\n"), done.stderr
    done = called(host, ["7", "psql", *QUIET, good], "SELECT 6 * 7;\nSELECT 'SELECT 43'\n\\gexec\n")
    assert (done.returncode, done.stdout) == (0, "42\n43\n"), done.stderr
    done = called(host, ["7", "load", *LOADING, good], "SELECT 6 * 7;")
    assert (done.returncode, done.stdout) == (0, "42\n"), done.stderr


def test_a_call_with_anything_else_runs_nothing(host: Host, good: str) -> None:
    for call in HOSTILE_CALLS:
        done = called(host, [spelt(argument, host, good) for argument in call])
        assert done.returncode == 2 and "nothing was run" in done.stderr, (call, done)
    assert not (host.directory / "state/docker-said").exists()


@pytest.mark.parametrize("program", ["psql", "load"])
def test_no_text_is_a_command_of_psqls(host: Host, good: str, program: str) -> None:
    for text in HOSTILE_TEXTS:
        done = called(host, ["7", program, *OWN[program], good], spelt(text, host, good) + "\nSELECT 'went on';\n")
        assert "went on" not in done.stdout and done.stderr and done.returncode, (text, done)
        assert not (host.directory / "state/mark").exists(), text


def test_nothing_of_the_callers_environment_is_left(host: Host, good: str) -> None:
    evil = host.directory / "state/evil"
    evil.write_text(f"touch {host.directory}/state/mark\n")
    environment = {
        "PGOPTIONS": "-c statement_timeout=1", "PGHOST": "127.0.0.2", "PGSERVICE": "x", "PATH": "/nonexistent",
        "BASH_ENV": str(evil), "ENV": str(evil), "DOCKER_HOST": "tcp://127.0.0.2:1", "COMPOSE_FILE": str(evil),
        "PERL5OPT": "-Mevil", "SHELLOPTS": "xtrace", "PS4": f"$(touch {host.directory}/state/mark)",
        "BASH_FUNC_docker%%": f"() {{ touch {host.directory}/state/mark; }}", "postgres_mode": "direct",
        "HOME": str(evil),
    }  # fmt: skip
    host.shim("docker", f"env > {host.directory}/state/env\n" + (host.shims / "docker").read_text())
    done = called(host, ["7", "psql", *QUIET, good], "SELECT 6 * 7;\n", **environment)
    assert (done.returncode, done.stdout) == (0, "42\n"), done.stderr
    assert not (host.directory / "state/mark").exists()
    names = {line.partition("=")[0] for line in (host.directory / "state/env").read_text().splitlines()}
    assert names <= {"PATH", "LC_ALL", "HOME", "PWD", "SHLVL", "_"}
