"""t of n: so many different, unrevoked keys must have signed, by the key files as they are now."""

from pathlib import Path

import pytest
from constitutions import default

from capsules.constitutions.constitution import ConstitutionRecord, ConstitutionSignature
from capsules.errors import ConstitutionRefused
from somagent.identity.keys import KeyRing
from somagent.identity.signatures import ConstitutionTrust, sign_digest
from somagent.local_stack.bootstrap import sign_constitution


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Three constitution keys of three people."""
    KeyRing.create_missing(tmp_path / "keys")
    for number in (2, 3):
        KeyRing.create_missing(tmp_path / f"person-{number}")
        key = tmp_path / "keys" / f"constitution-{number}.pem"
        key.touch(mode=0o600)
        key.write_bytes((tmp_path / f"person-{number}" / "constitution-1.pem").read_bytes())
    return tmp_path / "keys"


def signed_by(directory: Path, *numbers: int) -> ConstitutionRecord:
    """Sign as the holders of these keys would, each with the key in hand."""
    record = sign_constitution(KeyRing.load(directory), default())
    signatures = []
    for number in numbers:
        others = [path for path in directory.glob("constitution-*.pem") if path.stem != f"constitution-{number}"]
        for path in others:
            path.rename(path.with_suffix(".away"))
        made = sign_digest(KeyRing.load(directory), "constitution", record.digest)
        signatures.append(ConstitutionSignature(key_id=made.key_id, signature=made.value))
        for path in others:
            path.with_suffix(".away").rename(path)
    return record.model_copy(update={"signatures": tuple(signatures)})


def test_two_of_three_count_where_two_are_demanded(directory: Path) -> None:
    trust = ConstitutionTrust(directory, required=2)
    assert [k[:14] for k in trust.keys_of(signed_by(directory, 1, 3))] == ["constitution-1", "constitution-3"]
    with pytest.raises(
        ConstitutionRefused, match=r"needs the signatures of 2 .* and has 1 that hold \(constitution-2-"
    ):
        trust(signed_by(directory, 2))


def test_one_key_signing_twice_is_one(directory: Path) -> None:
    with pytest.raises(ConstitutionRefused, match="has 1 that hold"):
        ConstitutionTrust(directory, required=2)(signed_by(directory, 1, 1))


def test_a_revocation_counts_from_its_file_on_and_the_message_names_the_key(directory: Path) -> None:
    trust = ConstitutionTrust(directory, required=2)
    record = signed_by(directory, 1, 2)
    assert trust(record)
    (directory / "constitution-2.revoked").touch()
    with pytest.raises(ConstitutionRefused, match=r"Not counted: key 'constitution-2-[0-9a-f]{16}' is revoked"):
        trust(record)


def test_a_new_key_counts_without_a_restart(directory: Path, tmp_path: Path) -> None:
    trust = ConstitutionTrust(directory, required=1)
    third = directory / "constitution-3.pem"
    record = signed_by(directory, 3)
    third.rename(tmp_path / "third")
    with pytest.raises(ConstitutionRefused, match="is not known here"):
        trust(record)
    (tmp_path / "third").rename(third)
    assert trust(record)
