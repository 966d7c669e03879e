"""A vault's program without its settings: each of its functions can be called by itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from provision.settings.render import FILES

# As the program has them, without its settings. A signature here is the text "good".
PARTS = f"""
umask 077; cd "$1"; shift; shopt -u failglob
app_name=medaction store=$PWD/store state=$PWD/state work=$PWD/work incoming=$PWD/incoming source_name=db1
vault_proof_dir=$PWD/proof backup_user=$(id -un) vault_dir=$PWD vault_config_dir=$PWD
backup_size_change_percent=20 backup_volatile_tables=() vault_reserve_mb=1 vault_maximum_age_hours=30
vault_prove=each subject=vault step=test alarms=0 identity=none
mkdir -p store/db1/daily store/db1/weekly state work incoming proof
log() {{ printf '%s %s\\n' "$1" "$2"; }}
info() {{ log INFO "$1"; }}; warn() {{ log WARN "$1"; }}; alarm() {{ log ALARM "$1"; }}
eval "$(sed -n '/^without_rows()/,/^}}/p; /^plain_text()/,/^}}/p; /^digits()/,/^}}/p; /^human_size()/,/^}}/p' \
    {FILES}/backup/lib/base.sh)"
. {FILES}/backup/lib/json.sh
eval "$(sed -n '/^readonly stamp_/p; /^stamp_of()/,/^}}/p; /^spelt_for_files()/,/^}}/p; /^free_bytes()/,/^}}/p' \
    {FILES}/backup/lib/store.sh)"
. {FILES}/backup/lib/loss-rules.sh
. {FILES}/vault/lib/fetch.sh; . {FILES}/vault/lib/prove.sh; . {FILES}/vault/lib/keep.sh; . {FILES}/vault/lib/tell.sh
is_signed() {{ [[ $(cat "$1.sig" 2>/dev/null) == good ]]; }}
"""


Vault = Callable[..., str]


NAME = "medaction_2026-06-01_02-00-00.sql.gz"


def manifest(dump: str, database: str = "medaction", sums: str = "a", **other: object) -> str:
    files = [
        {"name": f"{dump}{end}.age", "plain_name": f"{dump}{end}", "bytes": 9, "sha256": "0" * 64,
         "plain_sha256": (sums if not end else "f") * 64}
        for end in ("", ".json")
    ]  # fmt: skip
    told = {"version": 1, "source": "db1", "app": "medaction", "dump": dump, "tier": "daily", "database": database}
    return json.dumps({**told, "server_version": "17.1", "database_bytes": 5, "files": files, **other})


def put(root: Path, day: int, sums: str, signed: bool = True, **other: object) -> Path:
    dump = f"medaction_2026-06-{day:02}_02-00-00.sql.gz"
    path = root / f"store/db1/daily/{dump}.manifest.json"
    path.write_text(manifest(dump, sums=sums, **other))  # type: ignore[arg-type]  # those of manifest's own
    if signed:
        path.with_name(f"{path.name}.sig").write_text("good")
    return path
