"""A night and a vault's visit as their timers make them, and what the vault then holds of db1."""

from __future__ import annotations

from tests.e2e.operator import Done, Operator

HOSTS = "db1,vault1"
STORE = "/var/lib/medaction/vault/store/db1"
OUTBOX = "/var/lib/medaction/offsite"
MARKER = "zq-marker-of-a-patient-5f1c"


def mark(operator: Operator) -> None:
    operator.postgres(
        f"SET ROLE medaction; CREATE TABLE IF NOT EXISTS marked (note text); INSERT INTO marked VALUES ('{MARKER}')"
    )


# Runs a program that says 75 while another run is at work, as soon as there is none.
UNTIL_FREE = 'until_free() { while :; do "$@"; code=$?; [ $code = 75 ] || return $code; sleep 0.2; done; }'


def night(operator: Operator) -> None:
    """A backup, its encryption, and the vault's visit, as their timers make them."""
    operator.read("db1", "/usr/local/lib/medaction/backup-database.sh")
    encrypt(operator)
    done = visit(operator)
    assert done.returncode == 0, done.stderr


def encrypt(operator: Operator) -> None:
    operator.read("db1", f"{UNTIL_FREE}; until_free /usr/local/lib/medaction/offsite.sh")


def visit(operator: Operator, timeout: int = 300) -> Done:
    """The vault fetches and proves. Its timer may be at work, too: then this is another visit after that one."""
    return operator.on("vault1", f"{UNTIL_FREE}; until_free /usr/local/lib/medaction/vault.sh", timeout=timeout)


def vault(operator: Operator, *words: str) -> str:
    return operator.on("vault1", f"/usr/local/lib/medaction/vault.sh {' '.join(words)}").stdout


def stored(operator: Operator) -> dict[str, str]:
    """Every file in the vault's store, by its path, with its sum."""
    lines = operator.read("vault1", f"cd {STORE} && find . -type f -exec sha256sum {{}} +").splitlines()
    return {path: digest for digest, path in (line.split("  ", 1) for line in lines)}


def newest(operator: Operator) -> str:
    return operator.read("db1", "cd /opt/medaction/backups && ls -d medaction_2*.sql.gz | sort | tail -n 1").strip()
