"""Keys on a real disk: made once, kept private, rotated by adding a file."""

import stat
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from somagent.identity.files import UnsafeKeyFile
from somagent.identity.keys import KeyMissing, KeyRing


def test_keys_are_made_once_and_stay(tmp_path: Path) -> None:
    first = KeyRing.create_missing(tmp_path / "keys")
    second = KeyRing.create_missing(tmp_path / "keys")
    assert first.signer("issuer")[0] == second.signer("issuer")[0]
    assert list(first.codec.items())[-1] == list(second.codec.items())[-1]


def test_every_key_file_is_private(tmp_path: Path) -> None:
    KeyRing.create_missing(tmp_path / "keys")
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "keys").iterdir()}
    assert modes == {"issuer-1.pem": 0o600, "constitution-1.pem": 0o600, "publisher-1.pem": 0o600, "codec-1.key": 0o600}
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700


@pytest.mark.parametrize(("name", "mode"), [("issuer-1.pem", 0o640), ("codec-1.key", 0o604), (".", 0o750)])
def test_a_key_that_others_can_read_is_refused_with_the_remedy(tmp_path: Path, name: str, mode: int) -> None:
    keys = tmp_path / "keys"
    KeyRing.create_missing(keys)
    (keys / name).chmod(mode)
    with pytest.raises(UnsafeKeyFile, match=r"chmod 0[67]00"):
        KeyRing.load(keys)


def test_a_missing_directory_says_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(KeyMissing, match="somagent up"):
        KeyRing.load(tmp_path / "nowhere")


def test_a_signature_holds_for_its_purpose_and_data_only(tmp_path: Path) -> None:
    ring = KeyRing.create_missing(tmp_path / "keys")
    signed = ring.sign("publisher", b"capsule")
    assert ring.verify("publisher", signed.key_id, b"capsule", signed.value)
    assert not ring.verify("publisher", signed.key_id, b"capsula", signed.value)
    assert not ring.verify("constitution", signed.key_id, b"capsule", signed.value)
    assert not ring.verify("publisher", signed.key_id, b"capsule", "not base64!")


def test_a_rotated_key_signs_and_the_retired_one_still_verifies(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    old = KeyRing.create_missing(keys)
    before = old.sign("publisher", b"data")
    other = KeyRing.create_missing(tmp_path / "other")
    _, old_key = old.signer("publisher")
    (keys / "publisher-1.pub").write_bytes(
        old_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    (keys / "publisher-1.pem").unlink()
    (tmp_path / "other" / "publisher-1.pem").rename(keys / "publisher-2.pem")
    ring = KeyRing.load(keys)
    after = ring.sign("publisher", b"data")
    assert ring.verify("publisher", before.key_id, b"data", before.value)
    assert ring.verify("publisher", after.key_id, b"data", after.value)
    assert before.key_id != after.key_id
    assert other.signer("publisher")[0] == after.key_id.replace("publisher-2", "publisher-1")


def test_a_file_that_is_no_key_is_named(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    KeyRing.create_missing(keys)
    (keys / "codec-1.key").write_text("c2hvcnQ=\n")
    with pytest.raises(KeyMissing, match=r"codec-1\.key.*5 bytes"):
        KeyRing.load(keys)


def test_processes_that_start_together_agree_on_the_keys(tmp_path: Path) -> None:
    rings: list[KeyRing] = []
    threads = [threading.Thread(target=lambda: rings.append(KeyRing.create_missing(tmp_path / "k"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({ring.signer("issuer")[0] for ring in rings}) == 1
    assert len({list(ring.codec.items())[-1] for ring in rings}) == 1


def test_a_ring_never_prints_its_secrets(tmp_path: Path) -> None:
    ring = KeyRing.create_missing(tmp_path / "keys")
    assert repr(list(ring.codec.values())[-1]) not in repr(ring)


def test_a_revoked_key_neither_signs_nor_verifies_and_the_next_lower_signs_again(tmp_path: Path) -> None:
    directory = tmp_path / "keys"
    first = KeyRing.create_missing(directory)
    KeyRing.create_missing(tmp_path / "other")
    newer = directory / "constitution-2.pem"
    newer.touch(mode=0o600)
    newer.write_bytes((tmp_path / "other" / "constitution-1.pem").read_bytes())
    signed = KeyRing.load(directory).sign("constitution", b"document")
    assert signed.key_id.startswith("constitution-2-")
    (directory / "constitution-2.revoked").touch()
    ring = KeyRing.load(directory)
    assert not ring.verify("constitution", signed.key_id, b"document", signed.value)
    assert ring.revoked["constitution"] == {signed.key_id}
    assert ring.signer("constitution")[0] == first.signer("constitution")[0]
