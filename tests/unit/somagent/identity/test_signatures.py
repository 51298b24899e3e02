"""Signatures over digests: a capsule or constitution that was touched is not used."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from capsules.capsule import Capsule, PublishedCapsule
from capsules.constitutions.constitution import ConstitutionRecord, ConstitutionSignature
from capsules.digest import digest
from capsules.errors import ConstitutionRefused, TamperedContent, Unauthenticated
from somagent.identity.api_keys import new_key, parse_key
from somagent.identity.keys import KeyRing
from somagent.identity.signatures import sign_digest, verify_capsule, verify_constitution

CAPSULE = Capsule.model_validate(
    {
        "apiVersion": "somagent/v1",
        "kind": "Capsule",
        "metadata": {"name": "hello", "version": "1.0.0", "summary": "Say hello."},
        "spec": {"type": "atomic", "intent": "Say hello.", "guardrails": {"max_steps": 1}, "budget": {"tokens": 10}},
    }
)


@pytest.fixture
def keyring(tmp_path: Path) -> KeyRing:
    return KeyRing.create_missing(tmp_path / "keys")


def published(keyring: KeyRing) -> PublishedCapsule:
    signed = sign_digest(keyring, "publisher", CAPSULE.digest())
    return PublishedCapsule(
        capsule=CAPSULE,
        digest=CAPSULE.digest(),
        signature=signed.value,
        key_id=signed.key_id,
        published_at=datetime.now(UTC),
        published_by="alice",
    )


def installed(keyring: KeyRing) -> ConstitutionRecord:
    document = {"metadata": {"name": "default", "version": "1.0.0"}}
    signed = sign_digest(keyring, "constitution", digest(document))
    return ConstitutionRecord(
        digest=digest(document),
        name="default",
        version="1.0.0",
        document=document,
        signatures=(ConstitutionSignature(key_id=signed.key_id, signature=signed.value),),
        installed_at=datetime.now(UTC),
    )


def test_what_was_published_here_verifies(keyring: KeyRing) -> None:
    assert verify_capsule(keyring, published(keyring)) == CAPSULE
    assert verify_constitution(keyring, installed(keyring)) == (keyring.signer("constitution")[0],)


def test_an_altered_capsule_is_refused_and_named(keyring: KeyRing) -> None:
    wider = CAPSULE.model_copy(
        update={"spec": CAPSULE.spec.model_copy(update={"intent": "Say hello and delete everything."})}
    )
    with pytest.raises(TamperedContent, match=r"hello@1\.0\.0.*altered"):
        verify_capsule(keyring, published(keyring).model_copy(update={"capsule": wider}))
    with pytest.raises(TamperedContent, match="does not hold"):
        verify_capsule(keyring, published(keyring).model_copy(update={"capsule": wider, "digest": wider.digest()}))


def test_a_capsule_signed_elsewhere_is_refused(keyring: KeyRing, tmp_path: Path) -> None:
    with pytest.raises(TamperedContent, match="not published here"):
        verify_capsule(keyring, published(KeyRing.create_missing(tmp_path / "other")))


def test_a_constitution_that_is_altered_unsigned_or_revoked_is_refused(keyring: KeyRing) -> None:
    record = installed(keyring)
    with pytest.raises(ConstitutionRefused, match="altered"):
        verify_constitution(keyring, record.model_copy(update={"document": {"score": {"threshold": 0}}}))
    with pytest.raises(ConstitutionRefused, match="unsigned"):
        verify_constitution(keyring, record.model_copy(update={"signatures": ()}))
    wrong = ConstitutionSignature(key_id=record.signatures[0].key_id, signature="")
    with pytest.raises(ConstitutionRefused, match=rf"by key '{wrong.key_id}' does not hold"):
        verify_constitution(keyring, record.model_copy(update={"signatures": (wrong,)}))
    with pytest.raises(ConstitutionRefused, match="revoked"):
        verify_constitution(keyring, record.model_copy(update={"state": "revoked"}))


def test_a_publisher_key_cannot_sign_a_constitution(keyring: KeyRing) -> None:
    record = installed(keyring)
    signed = sign_digest(keyring, "publisher", record.digest)
    foreign = ConstitutionSignature(key_id=signed.key_id, signature=signed.value)
    with pytest.raises(ConstitutionRefused, match="not known here"):
        verify_constitution(keyring, record.model_copy(update={"signatures": (foreign,)}))


def test_an_api_key_tells_its_tenant_and_keeps_its_secret() -> None:
    key = new_key("acme-1")
    assert parse_key(key.text) == key
    assert parse_key(key.text).tenant == "acme-1"
    assert key.text not in repr(key)
    assert parse_key(key.text).hash == key.hash
    assert new_key("acme-1").hash != key.hash


@pytest.mark.parametrize("text", ["", "sg_", "sg_acme_1_2", "sg_Acme_0123456789ab_" + "0" * 64, "sg_a_b_c_d"])
def test_what_is_no_api_key_is_refused(text: str) -> None:
    with pytest.raises(Unauthenticated):
        parse_key(text)
