"""What a person gets wrong that only the hosts can tell: one clear error, and nothing was changed anywhere."""

from __future__ import annotations

from tests.e2e.operator import Done, Operator


def test_host_that_refuses_ssh(project_copy: Operator) -> None:
    _edit(project_copy, "inventories/sandbox.py", '("app2", {', '("app2", {"ssh_port": 2222, ')
    _break_something(project_copy)
    _assert_refused(project_copy, project_copy.command("deploy"), "app2: cannot be reached", "PARTIAL=1")


def test_wrong_database_password(project_copy: Operator) -> None:
    secrets = project_copy.checkout / ".secrets/sandbox.env"
    lines = [line for line in secrets.read_text().splitlines() if not line.startswith("postgres_password=")]
    secrets.write_text("\n".join([*lines, "postgres_password=not-the-password"]) + "\n")
    _break_something(project_copy)
    done = project_copy.command("deploy")
    _assert_refused(project_copy, done, ": postgres_password or postgres_user (medaction)", "refuses the login")
    assert "not-the-password" not in done.stdout


def test_database_that_does_not_answer(project_copy: Operator) -> None:
    _edit(project_copy, "inventories/group_data/sandbox.py", "redis_host", "postgres_port = 5999\nredis_host")
    _break_something(project_copy)
    _assert_refused(project_copy, project_copy.command("deploy"), ": postgres_host, postgres_port:", "5999")


def test_something_else_on_the_database_port(project_copy: Operator) -> None:
    _edit(project_copy, "inventories/group_data/sandbox.py", "redis_host", "postgres_port = 22\nredis_host")
    _break_something(project_copy)
    _assert_refused(project_copy, project_copy.command("deploy"), "what answers at 10.213.86.31:22 is not PostgreSQL")


def test_server_newer_than_any_client_that_can_be_had(project_copy: Operator) -> None:
    """Debian 12 has client 15, the server is 17, and this repository address leads nowhere."""
    _edit(project_copy, "inventories/sandbox.py", "backup = [", 'backup = ["app1",')
    _edit(
        project_copy, "inventories/group_data/sandbox.py",
        "redis_host", 'postgres_apt_repository = "http://127.0.0.1:9/none"\nredis_host',
    )  # fmt: skip
    _break_something(project_copy)
    _assert_refused(
        project_copy, project_copy.command("deploy"), "app1: the server at 10.213.86.31 is PostgreSQL 17",
        "postgresql-client-17 is not available", "http://127.0.0.1:9/none cannot be read from there",
    )  # fmt: skip


def test_platform_that_is_not_there_yet(project_copy: Operator) -> None:
    project_copy.read("app2", "mv /etc/os-release /etc/os-release.debian; echo 'ID=plan9' > /etc/os-release")
    try:
        _break_something(project_copy)
        _assert_refused(project_copy, project_copy.command("deploy"), "app2:", "is not supported yet")
        for rubbish, told in (("mkdir", "is a directory"), ("mkfifo", "is a fifo"), ("touch", "has no line ID=")):
            project_copy.read("app2", f"rm -r /etc/os-release && {rubbish} /etc/os-release")
            said = project_copy.plan("app2").stdout
            assert f"app2: which system this is cannot be told: /etc/os-release {told}; no host was changed" in said
    finally:
        project_copy.read("app2", "rm -r /etc/os-release; mv /etc/os-release.debian /etc/os-release")


def _edit(operator: Operator, file: str, old: str, new: str) -> None:
    path = operator.checkout / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def _break_something(operator: Operator) -> None:
    """Leave a thing to mend on two hosts, so that a deploy which changes anything is seen."""
    operator.read("app1", "chmod 0600 /opt/medaction/.env")
    operator.read("redis1", "chmod 0600 /etc/redis/redis.conf")


def _assert_refused(operator: Operator, done: Done, *said: str) -> None:
    assert done.returncode == 1, done.stdout
    for words in said:
        assert words in done.stdout
    assert "no host was changed" in done.stdout
    # A new backup host's public key is kept in a stage of its own, which changes nothing there.
    deploy = done.stdout.rpartition("Loading: deploy.py")[2]
    assert "Starting operation" not in deploy and "Traceback" not in done.stdout
    assert "verified" not in deploy, "one cause is one line"
    assert operator.read("app1", "stat -c %a /opt/medaction/.env") == "600\n"
    assert operator.read("redis1", "stat -c %a /etc/redis/redis.conf") == "600\n"
