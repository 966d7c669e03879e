"""What can be known of vaults without a host: keys that are kept and compared, accounts, a person's own key."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pyrage import DecryptError, decrypt, encrypt, x25519

from provision.commands import keys as keys_command
from provision.commands import recover as recover_command
from provision.commands import secrets as secrets_command
from provision.engine import inventory
from provision.engine.environments import InventoryError
from provision.engine.inventory import Member
from provision.engine.preflight import PreflightError
from provision.settings import Fault, Settings, secrets
from provision.settings.project import PROJECT
from provision.vault import keys, layout, offline, recovery, sources, storage, transfer
from provision.vault.facts import PublicKeys
from provision.vault.preflight import refuse_shared_account
from tests.sandbox import packages
from tests.unit.conftest import Project

SettingsOf = Callable[..., Settings]
VAULT = 'vault = ["vault1"]\nbackup = ["db1"]\n'


@pytest.fixture
def vault1(settings_of: SettingsOf, project: Project) -> Member:
    return Member("vault1", ("vault", "staging"), settings_of(), {})


def test_a_recipient_that_is_no_age_key_is_a_fault_that_says_what_one_is(faults_of: Callable[..., list[Fault]]):
    key = str(x25519.Identity.generate().to_public())
    mistyped = key[:-1] + ("p" if key.endswith("q") else "q")
    (fault,) = faults_of(backup_encrypt_to=[mistyped])
    assert "must be a public age key" in fault.reason


@pytest.mark.parametrize("written", [str, lambda key: str(key).lower()])
def test_a_private_key_in_the_inventory_is_a_fault_that_does_not_show_it(written, faults_of):
    key = written(x25519.Identity.generate())
    (fault,) = faults_of(backup_encrypt_to=[key])
    assert "private key" in fault.reason and key not in repr(fault) and fault.found is None


def test_a_host_cannot_be_vault_and_source_at_once(project: Project):
    project.environment('vault = ["one"]\nbackup = ["one"]\n')
    with pytest.raises(InventoryError, match="one: is in backup and in vault"):
        inventory.read("staging")


LOCAL = '{"backup_encrypt_local": True}'


@pytest.mark.parametrize(
    ("hosts", "said"),
    [
        (f'backup = [("db1", {LOCAL})]\n', "leaves nobody who restores a dump as a test"),
        (f'backup = [("@winssh/w", {LOCAL})]\nvault = ["v"]\n', "cannot be on a Windows host, which has no age"),
        (f'backup = [("db1", {LOCAL})]\nvault = ["v"]\n', ""),
        (f'redis = [("r", {LOCAL})]\n', ""),  # it makes no dump
        (f'vault = [("v", {LOCAL})]\nbackup = ["db1"]\n', ""),
    ],
)
def test_dumps_lie_encrypted_only_where_age_is_and_a_vault_restores_them(hosts: str, said: str, project: Project):
    project.environment(hosts)
    if said:
        with pytest.raises(InventoryError, match=f"backup_encrypt_local = True: {said}"):
            inventory.read("staging")
    else:
        assert inventory.read("staging")


def test_a_dump_of_many_files_cannot_lie_encrypted(faults_of):
    (fault,) = faults_of(backup_encrypt_local=True, backup_format="directory")
    assert fault.setting == "backup_format" and "would lie in plain" in fault.reason and "use 'custom'" in fault.reason


def test_keys_are_lacking_until_they_are_kept_and_never_without_a_vault(project: Project):
    project.environment(VAULT)
    members = inventory.read("staging")
    assert {each.name for each in keys.lacking("staging", members)} == {"db1", "vault1"}
    for each in members:
        keys.keep("staging", each, {kind: f"{kind}-key" for kind in (*keys.VAULT_KINDS, *keys.HOST_KINDS)})
    assert keys.lacking("staging", members) == []
    project.environment('backup = ["db9"]\n')
    assert keys.lacking("staging", inventory.read("staging")) == []


def test_another_key_is_told_with_the_file_to_remove_and_never_overwrites(vault1: Member):
    keys.keep("staging", vault1, {"age": "first", "ssh": "s", "sign": "g"})
    assert keys.changed("staging", vault1, {"age": "first", "ssh": "s", "sign": "g"}) == ""
    told = keys.changed("staging", vault1, {"age": "other", "ssh": "s", "sign": "g"})
    assert "age key is not the one" in told and "inventories/keys/staging/vault1.age.pub" in told
    assert "is not there" in keys.changed("staging", vault1, {})
    keys.keep("staging", vault1, {"age": "other"})
    assert keys.kept("staging", vault1)["age"] == "first"


@pytest.mark.parametrize(
    ("vault", "account"),
    [("vault1", "medaction-at-vault1"), ("vault1.example.com", "medaction-at-vault1"), ("V" * 40, None)],
)
def test_account_of_a_vault_is_a_name_that_linux_takes(vault: str, account: str | None):
    name = sources.account("medaction", vault)
    assert name == account if account else len(name) <= 32


def test_copies_are_for_the_vaults_and_for_people(settings_of: SettingsOf):
    person = str(x25519.Identity.generate().to_public())
    vault = sources.Vault("vault1", "medaction-at-vault1", "ssh-ed25519 AAAA", "age1vault")
    files = {each.path: each for each in layout.outbox_files(settings_of(backup_encrypt_to=[person]), "db1", [vault])}
    assert files["/usr/local/lib/medaction/recipients"].content == f"age1vault\n{person}\n"
    assert files["/etc/ssh/medaction-offsite/medaction-at-vault1"].content == "restrict ssh-ed25519 AAAA\n"


def test_mount_unit_has_the_name_that_systemd_asks_for(settings_of: SettingsOf):
    # `systemd-escape --path --suffix=mount /var/lib/my-app/offsite/dev/log`
    unit = layout.log_mount(settings_of(app_name="my-app"))
    assert unit == r"var-lib-my\x2dapp-offsite-dev-log.mount"


def test_a_persons_key_is_private_outside_the_project_and_shown_by_its_public_half(
    project: Project, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
):
    project.environment(VAULT)
    path = tmp_path_factory.mktemp("stick") / "key"
    assert keys_command.run(Namespace(env="staging", out=str(path))) == 0
    said, secret = capsys.readouterr().out, path.read_text().splitlines()[-1]
    assert path.stat().st_mode & 0o777 == 0o600 and secret not in said
    public = path.read_text().splitlines()[1].removeprefix("# public key: ")
    assert f'backup_encrypt_to = ["{public}"]' in said
    sealed = encrypt(b"x", [x25519.Recipient.from_str(public)])
    assert decrypt(sealed, [x25519.Identity.from_str(secret)]) == b"x"


@pytest.mark.parametrize("out", ["", "inside", "there"])
def test_a_key_is_written_nowhere_else_and_over_nothing(out: str, project: Project, tmp_path_factory):
    project.environment(VAULT)
    elsewhere = tmp_path_factory.mktemp("stick")
    (elsewhere / "there").write_text("x")
    path = {"": "", "inside": str(project.root / "key"), "there": str(elsewhere / "there")}[out]
    with pytest.raises(InventoryError):
        keys_command.run(Namespace(env="staging", out=path))
    assert not Path(project.root / "key").exists() and (elsewhere / "there").read_text() == "x"


def test_newest_signed_copy_of_each_database_that_lacks_nothing_is_taken():
    one = recovery.Offer("daily", "m_2.sql.gz", "m", "ok", 2, True)
    offers = [
        replace(one, dump="m_4.sql.gz", suspect="a table is gone"),
        replace(one, dump="m_3.sql.gz", signed=False, proof="failed"),
        one,
        replace(one, dump="m_1.sql.gz"),
    ]
    others = [replace(one, database="crm", signed=False)]
    assert recovery.newest([*offers, *others], lambda offer: True) == [one]
    assert recovery.newest([*offers, *others], lambda offer: offer != one) == [offers[-1]]


def test_file_that_somebody_has_put_beside_the_copies_hides_none_of_them(tmp_path: Path):
    stored(tmp_path, [])
    there = tmp_path / "store/db1/daily"
    (there / "m_1.sql.gz.manifest.json.sig").write_text("x")
    for name, text in (("2", "x"), ("3", "[]"), ("4", "{}"), ("5", "[" * 100000)):
        (there / f"m_{name}.sql.gz.manifest.json").write_text(text)
        (there / f"m_{name}.sql.gz.manifest.json.sig").write_text(text)
    (there / "m_6.sql.gz.manifest.json").mkdir()
    offers = recovery.OfDirectory(tmp_path, tmp_path / "key").offers("db1")
    assert [each.dump for each in offers if each.database == "m" and each.signed] == ["m_1.sql.gz"]
    for text in ("x", "[]", "7"):
        (there / "m_1.sql.gz.proof.json").write_text(text)
        (mine,) = [
            each for each in recovery.OfDirectory(tmp_path, tmp_path / "key").offers("db1") if each.database == "m"
        ]
        assert mine.suspect == "what was said of it cannot be read"


@pytest.fixture
def stick(tmp_path: Path) -> Path:
    """The file of an offline key, as `make keys` writes it."""
    path = tmp_path / "medaction.key"
    identity = x25519.Identity.generate()
    path.write_text(f"# created: today\n# public key: {identity.to_public()}\n{identity}\n")
    return path


def public_half(stick: Path) -> str:
    return stick.read_text().split("# public key: ")[1].split()[0]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("KEY\r\n", ""),
        ("\ufeff# Schlüssel für den Tresor\n\n  KEY  \n", ""),
        ("KEY", ""),
        ("Müller\n# public key: age1x\nKEY\n".encode("latin-1"), ""),
        ("CUT", "a letter of the key is missing or wrong"),
        ("-----BEGIN AGE ENCRYPTED FILE-----\nYWdl\n", "is protected by a passphrase"),
        (b"age-encryption.org/v1\n-> scrypt xyz 18\n\xff\n", "is protected by a passphrase"),
        ("age1exdaz7avlqm7cpm9j89q643c0tdllxyqr2uqr30yt4lfmksw53csqdkvuz", "holds no key such as"),
        ("", "holds no key such as"),
    ],
)
def test_a_persons_key_is_found_among_whatever_was_written_beside_it(written: str | bytes, said: str, tmp_path: Path):
    identity, path = x25519.Identity.generate(), tmp_path / "key"
    data = written if isinstance(written, bytes) else written.encode()
    path.write_bytes(data.replace(b"KEY", str(identity).encode()).replace(b"CUT", str(identity)[:-3].encode()))
    if not said:
        assert [str(each) for each in offline.identities(path)] == [str(identity)]
        return
    with pytest.raises(offline.KeyFileError, match=said) as refused:
        offline.identities(path)
    assert "AGE-SECRET" not in str(refused.value) and str(path) in str(refused.value)


@pytest.mark.parametrize(
    ("copy", "at", "said"),
    [
        ("s3:bucket/x", "2026-11-24T20:00:00", "is no time with its zone"),
        ("s3:bucket/x", "2d", "is no time with its zone"),
        ("s3:bucket/x", "yesterday", "is no time with its zone"),
        ("s3:bucket/x", "2999-01-01T00:00:00Z", "is still to come"),
        ("/mnt/copy", "2026-01-01T00:00:00Z", "only an object storage keeps"),
        ("", "2026-01-01T00:00:00Z", "only an object storage keeps"),
    ],
)
def test_a_time_of_which_nothing_can_be_brought_is_refused(copy: str, at: str, said: str):
    with pytest.raises(InventoryError, match=said):
        recover_command.storage_of(Namespace(copy=copy, at=at, rclone=""))


def test_a_time_that_was_is_taken_as_it_was_given():
    for at in ("", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00", "2026-01-01T00:00:00.25Z"):
        place = recover_command.storage_of(Namespace(copy="s3:bucket/x", at=at, rclone=""))
        assert place is not None and place.at == at


def test_sealed_secrets_are_the_same_text_until_secrets_or_keys_are_others(project: Project, stick: Path):
    file = secrets.file_of("staging")
    secrets.write_private(file, b"redis_password=zq-one\n")
    text = offline.sealed("staging", [public_half(stick)])
    assert text.startswith("-----BEGIN AGE ENCRYPTED FILE-----\n") and "zq-one" not in text and text.endswith("-----\n")
    assert offline.sealed("staging", [public_half(stick)]) == text
    other = str(x25519.Identity.generate().to_public())
    assert offline.sealed("staging", [public_half(stick), other]) != text
    secrets.write_private(file, b"redis_password=zq-two\n")
    assert offline.sealed("staging", [public_half(stick)]) != text
    assert offline.sealed("staging", []) == ""
    kept = file.with_suffix(".sealed")
    assert kept.stat().st_mode & 0o777 == 0o600 and b"zq" not in kept.read_bytes()


def test_sealed_secrets_come_back_to_the_byte_where_there_are_none_and_only_there(
    project: Project, stick: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    project.environment(VAULT)
    file, plain = secrets.file_of("staging"), 'redis_password=é = "x\r\n# mine\npostgres_password=\\'.encode()
    secrets.write_private(file, plain)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/staging.env.age").write_text(offline.sealed("staging", [public_half(stick)]))
    words = Namespace(env="staging", copy=str(tmp_path), identity=str(stick), at="")
    with pytest.raises(InventoryError, match="is there already"):
        secrets_command.run(words)
    file.unlink()
    assert secrets_command.run(words) == 0
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (plain, 0o600)
    assert "redis" not in capsys.readouterr().out
    file.unlink()
    other = tmp_path / "other.key"
    other.write_text(f"{x25519.Identity.generate()}\n")
    for identity, said in ((other, "does not open it"), (tmp_path / "none", "cannot be read"), (tmp_path, "cannot be")):
        with pytest.raises(InventoryError, match=said) as refused:
            secrets_command.run(Namespace(env="staging", copy=str(tmp_path), identity=str(identity), at=""))
        assert "AGE-SECRET" not in str(refused.value)
    assert not file.exists()


MANIFEST = {"dump": "m_1.sql.gz", "tier": "daily", "source": "db1", "database": "m", "app": "medaction"}


def stored(root: Path, files: list[dict[str, str]]) -> recovery.Offer:
    there = root / "store/db1/daily"
    there.mkdir(parents=True)
    (there / "m_1.sql.gz.manifest.json").write_text(json.dumps(MANIFEST | {"files": files}))
    return recovery.OfDirectory(root, root / "key").offers("db1")[0]


@pytest.mark.parametrize("name", ["../m_1.sql.gz", "m_1.sql.gz/../../../x", "m_2.sql.gz", "/etc/passwd", ""])
def test_manifest_that_nobody_has_signed_names_no_file_outside_its_dump(name: str, tmp_path: Path, stick: Path):
    offer = stored(tmp_path, [{"name": f"{name}.age", "plain_name": name}])
    assert not offer.signed
    with pytest.raises(transfer.RecoveryError, match="none of a dump's"):
        recovery.manifest_of(recovery.OfDirectory(tmp_path, stick), "db1", offer, [])


@pytest.mark.parametrize(
    "text", ["", "x", "[]", "7", '{"dump": "m_1.sql.gz"}', json.dumps(MANIFEST), json.dumps(MANIFEST | {"files": [1]}),
             json.dumps(MANIFEST | {"files": [{"name": "x"}]}), b"\xff\xfe".decode("latin-1")],
)  # fmt: skip
def test_damaged_manifest_is_refused_in_a_sentence(text: str, tmp_path: Path, stick: Path):
    stored(tmp_path, [])
    (tmp_path / "store/db1/daily/m_1.sql.gz.manifest.json").write_text(text, encoding="latin-1")
    copies = recovery.OfDirectory(tmp_path, stick)
    with pytest.raises(transfer.RecoveryError, match="take another"):
        recovery.manifest_of(copies, "db1", copies.offers("db1")[0], [])


@pytest.mark.parametrize(
    "odd",
    [b'{"x": ' + b"[" * 5000 + b"]" * 5000 + b", ", b'{"x": ' + b"1" * 5000 + b", ", b'{"x": "\xff", ',
     b'{"app": "a\\u0000", ', b'{"app": "\\ud800", '],
    ids=["deep", "a long number", "no UTF-8", "an end", "half a letter"],
)  # fmt: skip
def test_manifest_that_a_vault_has_signed_and_nobody_reads_here_hides_none_of_the_others(
    odd: bytes, tmp_path: Path, stick: Path
):
    offer = replace(stored(tmp_path, []), signed=True)
    there = tmp_path / "store/db1/daily/m_1.sql.gz.manifest.json"
    told = {key: value for key, value in MANIFEST.items() if b'"app"' not in odd or key != "app"}
    there.write_bytes(odd + json.dumps(told | {"files": []}).encode()[1:])
    there.with_name(f"{there.name}.sig").write_text("of the vault")
    with pytest.raises(recovery.NotGenuineError, match=r"m_1\.sql\.gz: .*take another one"):
        recovery.manifest_of(recovery.OfDirectory(tmp_path, stick), "db1", offer, ["ssh-ed25519 AAAA"])


def test_what_is_called_like_no_dump_is_not_brought(tmp_path: Path, stick: Path):
    offer = replace(stored(tmp_path, []), dump="m_1.exe")
    there = tmp_path / "store/db1/daily"
    (there / "m_1.exe.manifest.json").write_text(json.dumps(MANIFEST | {"dump": "m_1.exe", "files": []}))
    with pytest.raises(transfer.RecoveryError, match="is no name of a dump"):
        recovery.manifest_of(recovery.OfDirectory(tmp_path, stick), "db1", offer, [])


def test_copy_of_a_vaults_directory_is_opened_by_peoples_key_and_by_no_other(stick: Path, tmp_path: Path):
    stored(tmp_path, [])
    sealed = tmp_path / "store/db1/daily/m_1.sql.gz.age"
    plain = bytes(range(256)) * 20000
    sealed.write_bytes(encrypt(plain, [x25519.Recipient.from_str(public_half(stick))]))
    into = io.BytesIO()
    recovery.OfDirectory(tmp_path, stick).read("db1", "daily/m_1.sql.gz.age", into)
    assert into.getvalue() == plain
    whole = sealed.read_bytes()
    for damaged in (whole[:-1], whole[: len(whole) // 2], whole[:-1] + b"\0", b""):
        sealed.write_bytes(damaged)
        with pytest.raises(transfer.RecoveryError, match="does not open it"):
            recovery.OfDirectory(tmp_path, stick).read("db1", "daily/m_1.sql.gz.age", io.BytesIO())
    with pytest.raises(transfer.RecoveryError, match="cannot be read"):
        recovery.OfDirectory(tmp_path, stick).read("db1", "daily/none.age", io.BytesIO())


@pytest.mark.parametrize("head", [b"", b"age-encryption.org/v1\n", b"age-encryption.org/v1\n-> X25519 ", b"\n--- x\n"])
def test_copy_whose_head_has_no_end_is_not_read_for_one(head: bytes, stick: Path, tmp_path: Path):
    stored = io.BytesIO(head + bytes(1 << 20))
    with pytest.raises(DecryptError, match="does not begin as age writes it"):
        recovery.open_copy(stored, io.BytesIO(), offline.identities(stick))
    assert stored.tell() <= 1 << 16


def test_a_directory_of_this_machine_is_no_place_of_rclones(tmp_path: Path):
    odd = tmp_path / "s3:bucket"
    odd.mkdir()
    assert not any(storage.is_place(text) for text in ("", "/mnt/copy", "copy", "./s3:x", str(odd)))
    assert all(storage.is_place(text) for text in ("s3:bucket/path", "b2:", "my remote:x"))


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("2026/11/26 02:04:25 ERROR : Attempt 3/3 failed\n2026/11/26 02:04:25 Failed to copy\n", "Failed to copy"),
        ("2026/11/26 02:04:25 ERROR : x\ncaused by: refused\n", "x (caused by: refused)"),
        ("", "rclone gave no reason"), ("2026/11/26 02:04:25 NOTICE: \x1b[2Jgone\n", "\\x1b[2Jgone"),
    ],
)  # fmt: skip
def test_rclones_reason_is_its_last_words(said: str, told: str):
    assert storage.reason_in(said) == told


def test_a_vault_whose_tools_were_taken_away_still_tells_its_public_key(tmp_path: Path):
    """As after `make remove ROLE=vault`, which keeps the keys and takes age away."""
    identity = x25519.Identity.generate()
    there, tools = tmp_path / "keys", tmp_path / "bin"
    there.mkdir()
    tools.mkdir()
    for name in ("cut", "paste", "sed"):
        (tools / name).symlink_to(str(shutil.which(name)))
    (there / "age").write_text(f"# created: 2026-11-26\n# public key: {identity.to_public()}\n{identity}\n")
    argv = ["/bin/sh", str(PROJECT / "files/vault/public-keys.sh"), str(there)]
    done = subprocess.run(argv, env={"PATH": str(tools)}, capture_output=True, text=True, check=True)
    assert PublicKeys().read((done.stdout + done.stderr).splitlines())["age"] == str(identity.to_public())


class Refusing:
    """The channel to a command that has ended before it took all."""

    def __init__(self, said: bytes) -> None:
        self.said = said

    def sendall(self, data: bytes) -> None:
        raise OSError("Socket is closed")

    def makefile_stderr(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self.said)

    def close(self) -> None:
        self.said = b""


@pytest.mark.parametrize(
    ("said", "told"),
    [(b"cat: write error: No space left on device\n", "No space left on device"), (b"", "the connection was cut")],
)
def test_new_host_that_takes_no_more_is_told_of_and_not_the_key(
    said: bytes, told: str, stick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    stored(tmp_path, [])
    sealed = tmp_path / "store/db1/daily/m_1.sql.gz.age"
    sealed.write_bytes(encrypt(bytes(1 << 20), [x25519.Recipient.from_str(public_half(stick))]))
    monkeypatch.setattr(transfer, "_open", lambda host, argv: Refusing(said))
    with (
        pytest.raises(transfer.RecoveryError, match=f"db1: /backups/m_1.sql.gz: .*{told}: nothing half"),
        transfer.arriving(Namespace(name="db1"), "/backups/m_1.sql.gz", "backup", "0" * 64) as into,
    ):
        recovery.OfDirectory(tmp_path, stick).read("db1", "daily/m_1.sql.gz.age", into)


def test_a_file_arrives_under_a_name_that_is_not_longer_than_its_own(monkeypatch: pytest.MonkeyPatch):
    path, asked = f"/backups/medaction-{'%e6%97%a5' * 21}_2026-01-01_02-00-00.sql.gz.properties.json", []
    monkeypatch.setattr(transfer, "_open", lambda host, argv: asked.append(argv) or Refusing(b""))
    with (
        pytest.raises(transfer.RecoveryError, match="the connection was cut"),
        transfer.arriving(Namespace(name="db1"), path, "backup", "0" * 64) as into,
    ):
        into.write(b"x")
    aside = asked[0][-1]
    assert Path(aside).parent == Path(path).parent and len(f"{Path(aside).name}.part") < 255


def test_two_vaults_that_backup_hosts_would_take_for_one_are_refused(project: Project):
    one, other = "vault-of-the-clinic-1", "vault-of-the-clinic-2.example.com"
    project.environment(f'vault = ["{one}", "{other}"]\nbackup = ["db1"]\n')
    with pytest.raises(PreflightError, match=f"{one}, {other}: .*by the account medaction-at-vault-of-the-clinic,"):
        refuse_shared_account(inventory.read("staging"))
    project.environment('vault = ["vault1.a.example", "vault2.a.example"]\nbackup = ["db1"]\n', "other")
    refuse_shared_account(inventory.read("other"))


def test_recovery_asks_for_no_secret_of_what_may_be_lost(project: Project):
    """Neither the vault's own key to the bucket nor what the deploy read from elsewhere lies in the safe."""
    project.environment(
        'backup = [("db1", {"backup_ping_url": "env:NOT_SET_HERE"})]\n'
        'vault = [("vault1", {"backup_offsite": ["s3:b"], "backup_offsite_config": "file:/nowhere/rclone.conf"})]\n'
    )
    with pytest.raises(InventoryError, match=r"there is no file /nowhere/rclone\.conf"):
        _ = inventory.Environment("staging").members
    members = inventory.Environment("staging", with_secrets=False).members
    assert {each.name for each in members} == {"db1", "vault1"}
    arguments = Namespace(env="staging", host="db9", copy="s3:b", rclone="", at="", identity="", vault="", dump="")
    with pytest.raises(InventoryError, match="HOST=db9 is no Debian host in backup"):
        recover_command.run(arguments)


@pytest.fixture
def place(tmp_path: Path) -> storage.Storage:
    packages.ensure("rclone", "rclone")
    (tmp_path / "place/store/db1/daily").mkdir(parents=True)
    (tmp_path / "rclone.conf").write_text(f"[here]\ntype = alias\nremote = {tmp_path}/place\n")
    return storage.Storage("here:", str(tmp_path / "rclone.conf"))


def test_copy_that_is_not_there_is_no_fault_of_the_key(place: storage.Storage, stick: Path):
    with pytest.raises(transfer.RecoveryError, match=r"m_1\.sql\.gz\.age: is not there, or empty: DUMP= takes another"):
        storage.OfStorage(place, stick).read("db1", "daily/m_1.sql.gz.age", io.BytesIO())


def test_storage_that_was_filled_by_somebody_is_told_with_the_way_back(
    place: storage.Storage, stick: Path, monkeypatch: pytest.MonkeyPatch
):
    said = (
        "2026/11/27 06:43:00 ERROR : x.proof.json: Failed to copy: max transfer limit reached as set by --max-transfer"
    )
    failed = subprocess.CompletedProcess([], 8, "", said)
    monkeypatch.setattr(subprocess, "run", lambda *words, **more: failed)
    with pytest.raises(transfer.RecoveryError, match="somebody else writes there; AT= takes what was there"):
        storage.OfStorage(place, stick).offers("db1")


def test_half_a_key_is_not_left_where_one_was_wanted(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    project.environment(VAULT)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InventoryError, match=r"OUT=.*: no key was written: No space left on device"):
        keys_command.run(Namespace(env="staging", out=str(tmp_path.parent / "half.key")))
    assert not (tmp_path.parent / "half.key").exists()
