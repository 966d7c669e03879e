"""`python -m bench.offsite [--quick]`: measure, print the table, remove the hosts."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import BenchError, command, fleet, machine, memory, say
from bench.table import aim, markdown
from tests.sandbox.fleet import PREFIX

SCALE = 17  # times the sandbox's sample data: over 1 GB of rows
TURNS = 3
DATABASE, VAULT = "benchdb", "benchvault"
PROGRAMS = "/usr/local/lib/medaction"
OUTBOX = "/var/lib/medaction/offsite"
OURS = ("age", "bash", "jq", "perl", "sftp", "ssh", "sha256sum", "sshd-session")
FLEET = fleet.Fleet(Path(__file__).resolve().parent)

# What another `backup_encrypt_local` changes on a host, and back: two deploys would take longer than the measurement.
ENCRYPTED = r"""settings=/usr/local/lib/medaction/settings.sh
sed -Ei -e 's/^(readonly backup_encrypt_local)=.*/\1=VALUE/' \
    -e 's/^(readonly backup_suffix=\.sql\.gz)(\.age)?$/\1ENDING/' $settings
grep -q '^readonly backup_encrypt_local=VALUE$' $settings &&
    grep -q '^readonly backup_suffix=\.sql\.gzENDING$' $settings
"""
# The vault's own key and client, without the vault's program: what a person would type.
PLAIN = """cd /; . /usr/local/lib/medaction/settings.sh; . /usr/local/lib/medaction/vault-settings.sh
read -r name address port account <<<"${vault_sources[0]}"; rm -rf /var/tmp/plain; mkdir /var/tmp/plain
printf 'get /daily/%s* /var/tmp/plain/\\n' DUMP | sftp -q -b - -F /dev/null -P "$port" -i "$vault_config_dir/ssh" \
    -o UserKnownHostsFile="$vault_config_dir/known_hosts" -o HostKeyAlias="$name" "$account@$address"; sync
"""
STAMPED = '{ %s 2>&1 || echo FAILED; } | while IFS= read -r line; do echo "$EPOCHREALTIME $line"; done'


@dataclass(frozen=True)
class Turn:
    """Seconds of each step, and the bytes that went over the link."""

    backup: float
    encrypted_backup: float
    encryption: float
    fetch: float
    plain: float
    stored: int


def main(quick: bool) -> None:
    described = machine.description()
    prepare(1 if quick else SCALE)
    turns = [turn() for _ in range(1 if quick else TURNS)]
    peaks = {host: peaks_of(host, program) for host, program in ((DATABASE, "offsite.sh"), (VAULT, "vault.sh"))}
    report(described, turns, peaks)


def prepare(scale: int) -> None:
    FLEET.boot()
    fleet.fill(DATABASE, "large", scale)
    FLEET.deploy()
    fleet.run(DATABASE, "systemctl stop medaction-offsite.timer medaction-offsite.service")
    fleet.run(VAULT, "systemctl stop medaction-vault.timer medaction-vault.service")


def turn() -> Turn:
    fleet.run(DATABASE, ENCRYPTED.replace("VALUE", "1").replace("ENDING", ".age"))
    fleet.run(DATABASE, f"{PROGRAMS}/backup-database.sh")  # for nobody: after a vault's restore the first one is slow
    encrypted_backup = fleet.seconds_of(DATABASE, f"{PROGRAMS}/backup-database.sh")
    fleet.run(DATABASE, ENCRYPTED.replace("VALUE", "0").replace("ENDING", ""))
    fleet.run(DATABASE, "rm /opt/medaction/backups/*.age*")  # else they would be copied and fetched as well
    backup = fleet.seconds_of(DATABASE, f"{PROGRAMS}/backup-database.sh")
    encryption = fleet.seconds_of(DATABASE, f"{PROGRAMS}/offsite.sh")
    dump, fetch = fetched()
    plain = PLAIN.replace("DUMP", dump)
    fleet.seconds_of(VAULT, plain)  # once for nobody: both read from the page cache then
    seconds = fleet.seconds_of(VAULT, plain)
    stored = int(fleet.run(DATABASE, f"cat {OUTBOX}/daily/{dump}* | wc -c"))
    done = Turn(backup, encrypted_backup, encryption, fetch, seconds, stored)
    say(str(done))
    return done


def fetched() -> tuple[str, float]:
    """The dump that a vault's run fetched, and how long that took with its sums: without the restore that follows."""
    said = fleet.run(VAULT, f"bash -c '{STAMPED % f'{PROGRAMS}/vault.sh'}'")
    begun = re.search(r"^(\S+) .* fetching (\S+)\.age, ", said, re.M)
    ended = re.search(r"^(\S+) .* (\S+) is here, every sum", said, re.M)
    if not begun or not ended or "FAILED" in said:
        raise BenchError(f"the vault fetched nothing:\n{said}")
    return ended[2], float(ended[1]) - float(begun[1])


def peaks_of(host: str, program: str) -> int:
    """The most that one process of ours held: another dump is encrypted, then fetched and proven."""
    if host == DATABASE:
        fleet.run(DATABASE, f"{PROGRAMS}/backup-database.sh")
    peaks = memory.largest(PREFIX + host, lambda: fleet.run(host, f"{PROGRAMS}/{program}"))
    return max(held for name, held in peaks.items() if name.startswith(OURS) or name == program)


def report(described: str, turns: list[Turn], peaks: dict[str, int]) -> None:
    head = ["step", "seconds", "MB/s"]
    rows = [
        [name, f"{median(seconds):.2f}", f"{median(each.stored for each in turns) / median(seconds) / 1e6:.0f}"]
        for name, seconds in (
            ("backup", [each.backup for each in turns]),
            ("a backup that lies encrypted", [each.encrypted_backup for each in turns]),
            ("encryption", [each.encryption for each in turns]),
            ("the vault's fetch, its sums included", [each.fetch for each in turns]),
            ("plain sftp", [each.plain for each in turns]),
        )
    ]
    print(f"\n{described}; copies of {turns[0].stored / 1e6:.0f} MB\n\n{markdown([head, *rows])}\n")
    with_copy = median((each.backup + each.encryption) / each.backup for each in turns)
    at_once = median(each.encrypted_backup / each.backup for each in turns)
    speed = median(each.plain / each.fetch for each in turns)
    largest = max(peaks.values()) / 1e6
    print(aim("a backup and its encryption, times the backup", with_copy, "at most 1.1", with_copy <= 1.1))
    print(aim("a backup that lies encrypted, times the backup", at_once, "at most 1.1", at_once <= 1.1))
    print(aim("the fetch's speed, times plain sftp's", speed, "at least 0.8", speed >= 0.8))
    print(aim("MB of memory of one process at most", largest, "below 64", largest < 64))


if __name__ == "__main__":
    sys.exit(command.run("offsite", "a small database, one turn", main, FLEET.remove))
