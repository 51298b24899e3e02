"""Signatures over digests: what was published or installed here is what is used, byte for byte.

The signed text is the digest's ASCII text. Checking recomputes the digest first: a signature over a digest says nothing
about a document that has another.
"""

from typing import NewType

from capsules.capsule import Capsule
from capsules.digest import Digest, digest
from capsules.errors import ConstitutionRefused, TamperedContent
from capsules.records import ConstitutionRecord, PublishedCapsule
from somagent.identity.keys import KeyRing, Purpose, Signature

VerifiedCapsule = NewType("VerifiedCapsule", Capsule)
"""A capsule whose digest and signature hold; only `verify_capsule` makes one."""


def sign_digest(keyring: KeyRing, purpose: Purpose, value: Digest) -> Signature:
    """Sign a digest: `publisher` for capsules, `constitution` for constitutions."""
    return keyring.sign(purpose, value.encode("ascii"))


def verify_capsule(keyring: KeyRing, published: PublishedCapsule) -> VerifiedCapsule:
    """Return the capsule. Raises TamperedContent when it is not the one that was signed."""
    ref, found = published.capsule.ref, digest(published.capsule)
    if found != published.digest:
        raise TamperedContent(
            f"The capsule {ref!r} has the digest {found}, not {published.digest}: it was altered.",
            ref=ref,
        )
    if not keyring.verify("publisher", published.key_id, found.encode("ascii"), published.signature):
        raise TamperedContent(
            f"The signature of capsule {ref!r} by key {published.key_id!r} does not hold: it was not published here.",
            ref=ref,
        )
    return VerifiedCapsule(published.capsule)


def verify_constitution(keyring: KeyRing, record: ConstitutionRecord) -> Digest:
    """Return the digest. Raises ConstitutionRefused when the document is unsigned, altered or revoked."""
    name, found = f"{record.name}@{record.version}", digest(record.document)
    if record.state == "revoked":
        raise ConstitutionRefused(f"The constitution {name!r} is revoked.", digest=record.digest)
    if found != record.digest:
        raise ConstitutionRefused(
            f"The constitution {name!r} has the digest {found}, not {record.digest}: it was altered.",
            digest=record.digest,
        )
    if not keyring.verify("constitution", record.key_id, found.encode("ascii"), record.signature):
        raise ConstitutionRefused(
            f"The signature of constitution {name!r} by key {record.key_id!r} does not hold: it is unsigned here.",
            digest=record.digest,
        )
    return found
