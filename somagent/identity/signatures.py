"""Signatures over the digests of capsules and constitutions.

The signed text is the digest as ASCII. A check first computes the digest of the document, because a signature over a
digest proves nothing about a document with another digest.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NewType

from capsules.capsule import Capsule, PublishedCapsule
from capsules.constitutions.constitution import ConstitutionRecord
from capsules.digest import Digest, digest
from capsules.errors import ConstitutionRefused, TamperedContent
from somagent.identity.keys import KeyPurpose, KeyRing, Signature

VerifiedCapsule = NewType("VerifiedCapsule", Capsule)
"""A capsule whose digest and signature hold; only `verify_capsule` makes one."""


def sign_digest(keyring: KeyRing, purpose: KeyPurpose, value: Digest) -> Signature:
    """Sign a digest; the purpose is `publisher` for capsules, `constitution` for constitutions. Raises KeyMissing."""
    return keyring.sign(purpose, value.encode("ascii"))


def verify_capsule(keyring: KeyRing, published: PublishedCapsule) -> VerifiedCapsule:
    """Return the capsule. Raises TamperedContent when digest or signature do not match."""
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


def verify_constitution(keyring: KeyRing, record: ConstitutionRecord, required: int = 1) -> tuple[str, ...]:
    """Return the ids of the keys whose signatures count.

    Raises ConstitutionRefused when the document is altered or revoked, or when fewer than `required` different,
    unrevoked keys of this installation signed it. The message gives the reason for each signature that does not count.
    """
    name, found = f"{record.name}@{record.version}", digest(record.document)
    if record.state == "revoked":
        raise ConstitutionRefused(f"The constitution {name!r} is revoked.", digest=record.digest)
    if found != record.digest:
        raise ConstitutionRefused(
            f"The constitution {name!r} has the digest {found}, not {record.digest}: it was altered.",
            digest=record.digest,
        )
    signed = found.encode("ascii")
    good = {s.key_id for s in record.signatures if keyring.verify("constitution", s.key_id, signed, s.signature)}
    if len(good) < required:
        others = dict.fromkeys(s.key_id for s in record.signatures if s.key_id not in good)
        raise ConstitutionRefused(
            f"The constitution {name!r} needs the signatures of {required} different constitution keys and has "
            f"{len(good)} that hold{_list_keys(good)}.{_describe_uncounted(keyring, others)} Sign {record.digest} with "
            "`somagent policy sign` and propose it again.",
            digest=record.digest,
            required=required,
            valid=sorted(good),
        )
    return tuple(sorted(good))


def _list_keys(key_ids: set[str]) -> str:
    return f" ({', '.join(sorted(key_ids))})" if key_ids else ""


def _describe_uncounted(keyring: KeyRing, key_ids: Iterable[str]) -> str:
    """Return a sentence with the reason for each signature that does not count."""
    reasons = []
    for key_id in key_ids:
        if key_id in keyring.revoked.get("constitution", frozenset()):
            reasons.append(f"key {key_id!r} is revoked")
        elif keyring.verifier("constitution", key_id) is None:
            reasons.append(f"key {key_id!r} is not known here")
        else:
            reasons.append(f"the signature by key {key_id!r} does not hold")
    return f" Not counted: {'; '.join(reasons)}." if reasons else " It is unsigned."


@dataclass
class ConstitutionTrust:
    """Verifies constitutions with the present keys of a directory, so a rotation or revocation needs no restart."""

    directory: Path
    required: int = 1
    _seen: int = field(default=-1, init=False)
    _ring: KeyRing | None = field(default=None, init=False, repr=False)

    def __call__(self, record: ConstitutionRecord) -> bool:
        """Return True. Raises ConstitutionRefused when not enough signatures count."""
        self.keys_of(record)
        return True

    def keys_of(self, record: ConstitutionRecord) -> tuple[str, ...]:
        """Return the ids of the keys whose signatures count. Raises ConstitutionRefused."""
        return verify_constitution(self._current(), record, self.required)

    def _current(self) -> KeyRing:
        changed = self.directory.stat().st_mtime_ns if self.directory.is_dir() else -1
        if self._ring is None or changed != self._seen:
            self._ring, self._seen = KeyRing.load(self.directory), changed
        return self._ring
