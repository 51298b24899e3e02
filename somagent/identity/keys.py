"""Key ring: Ed25519 keys by purpose and AES-256 codec keys, from files named `{purpose}-{number}`.

`issuer-1.pem` signs and verifies. `issuer-1.pub` only verifies, which is how a key is retired. The highest number signs
and every number verifies, so a rotation is a new file. A file `constitution-1.revoked` beside a key revokes it: it
neither signs nor verifies. The id of a key contains its fingerprint, because two installations use the same file names.
"""

import base64
import binascii
import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self, get_args

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from capsules.errors import Unavailable
from somagent.identity.files import ensure_private_directory, read_private, write_once

KeyPurpose = Literal["issuer", "constitution", "publisher", "sealer"]
KEY_PURPOSES: tuple[KeyPurpose, ...] = get_args(KeyPurpose)
SEPARATE: frozenset[KeyPurpose] = frozenset({"sealer"})
"""Purposes whose private keys are not in the common directory: a process that writes records must not sign blocks."""

_FILE = re.compile(r"^(?P<name>(?P<purpose>[a-z]+)-(?P<number>\d{1,6}))\.(?P<kind>pem|pub|key|revoked)$")
_CODEC_BYTES = 32


class KeyMissing(Unavailable):
    """A key that is needed is not in the key directory, or its file is not a key."""


@dataclass(frozen=True, kw_only=True)
class Signature:
    """An Ed25519 signature in Base64, with the id of its key."""

    key_id: str
    value: str


@dataclass(frozen=True)
class KeyRing:
    """Keys in the order of their numbers; the last one of a purpose signs or encrypts."""

    public: Mapping[KeyPurpose, Mapping[str, Ed25519PublicKey]]
    private: Mapping[KeyPurpose, tuple[str, Ed25519PrivateKey]] = field(repr=False)
    codec: Mapping[str, bytes] = field(repr=False)
    revoked: Mapping[KeyPurpose, frozenset[str]] = field(default_factory=dict)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Load every key of `directory`. Raises KeyMissing or UnsafeKeyFile with a remedy."""
        if not directory.is_dir():
            raise KeyMissing(
                f"There is no key directory {str(directory.absolute())!r}. `somagent up` creates it with its keys. "
                "If the stack was started elsewhere, set SOMAGENT_HOME to its directory, `/…/.somagent`."
            )
        ensure_private_directory(directory)
        public: dict[KeyPurpose, dict[str, Ed25519PublicKey]] = {purpose: {} for purpose in KEY_PURPOSES}
        private: dict[KeyPurpose, tuple[str, Ed25519PrivateKey]] = {}
        codec: dict[str, bytes] = {}
        revoked: dict[KeyPurpose, set[str]] = {purpose: set() for purpose in KEY_PURPOSES}
        files = _key_files(directory)
        revoked_names = {name for name, _, path in files if path.suffix == ".revoked"}
        for name, purpose, path in files:
            if purpose == "codec":
                codec[name] = _codec_key(path)
            elif path.suffix != ".revoked":
                signer = _private_key(path) if path.suffix == ".pem" else None
                verifier = signer.public_key() if signer else _public_key(path.read_bytes(), repr(str(path)))
                key_id = key_id_of(name, verifier)
                if name in revoked_names:
                    revoked[purpose].add(key_id)
                    continue
                public[purpose][key_id] = verifier
                if signer:
                    private[purpose] = (key_id, signer)
        revoked_ids = {purpose: frozenset(ids) for purpose, ids in revoked.items()}
        return cls(public=public, private=private, codec=codec, revoked=revoked_ids)

    @classmethod
    def create_missing(cls, directory: Path) -> Self:
        """Create the directory and a first key for each purpose that has none; then load. Never replaces a key."""
        ensure_private_directory(directory)
        present = {purpose for _, purpose, path in _key_files(directory) if path.suffix in {".pem", ".key"}}
        for purpose in KEY_PURPOSES:
            if purpose not in present and purpose not in SEPARATE:
                _write_key(directory, purpose)
        if "codec" not in present:
            write_once(directory / "codec-1.key", base64.b64encode(secrets.token_bytes(_CODEC_BYTES)) + b"\n")
        return cls.load(directory)

    @classmethod
    def create_separate(cls, directory: Path, purpose: KeyPurpose, common: Path) -> Self:
        """Create a directory and first key for one purpose if missing, copy its public keys to `common`, and load."""
        ensure_private_directory(directory)
        if not any(found == purpose and path.suffix == ".pem" for _, found, path in _key_files(directory)):
            _write_key(directory, purpose)
        for name, found, path in _key_files(directory):
            public = common / f"{name}.pub"
            if found == purpose and path.suffix == ".pem" and not public.exists():
                pem = _private_key(path).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
                write_once(public, pem)
        return cls.load(directory)

    def signer(self, purpose: KeyPurpose) -> tuple[str, Ed25519PrivateKey]:
        """Return the id and the private key that signs for `purpose`. Raises KeyMissing."""
        try:
            return self.private[purpose]
        except KeyError:
            raise KeyMissing(f"There is no private {purpose!r} key here: this process cannot sign with it.") from None

    def verifier(self, purpose: KeyPurpose, key_id: str) -> Ed25519PublicKey | None:
        """Return a public key; None for one that this installation does not know."""
        return self.public[purpose].get(key_id)

    def sign(self, purpose: KeyPurpose, data: bytes) -> Signature:
        """Sign with the newest key of a purpose. Raises KeyMissing."""
        key_id, key = self.signer(purpose)
        return Signature(key_id=key_id, value=base64.b64encode(key.sign(data)).decode())

    def verify(self, purpose: KeyPurpose, key_id: str, data: bytes, value: str) -> bool:
        """Return whether `value` is the signature of `data` by this key of the ring."""
        return verify_signature(self.verifier(purpose, key_id), data, value)


def load_public_keys(directory: Path, purpose: KeyPurpose) -> dict[str, Ed25519PublicKey]:
    """Return the public keys of a purpose by id. A directory with public keys only need not be private."""
    found = {}
    for name, kind, path in _key_files(directory):
        if kind == purpose and path.suffix in {".pub", ".pem"}:
            public = path.suffix == ".pub"
            key = _public_key(path.read_bytes(), repr(str(path))) if public else _private_key(path).public_key()
            found[key_id_of(name, key)] = key
    return found


def parse_public_key(pem: str) -> Ed25519PublicKey:
    """Return the public key of a PEM text. Raises KeyMissing."""
    return _public_key(pem.encode(), "This")


def verify_signature(key: Ed25519PublicKey | None, data: bytes, value: str) -> bool:
    """Return whether `value` is the Base64 signature of `data` by the key."""
    if key is None:
        return False
    try:
        key.verify(base64.b64decode(value, validate=True), data)
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


def _write_key(directory: Path, purpose: KeyPurpose) -> None:
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_once(directory / f"{purpose}-1.pem", pem)


def key_id_of(name: str, key: Ed25519PublicKey) -> str:
    """Return the id of a key: the name of its file and the start of its fingerprint."""
    fingerprint = hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()
    return f"{name}-{fingerprint[:16]}"


def _key_files(directory: Path) -> list[tuple[str, KeyPurpose | Literal["codec"], Path]]:
    """Return name, purpose and path of each key file, by purpose and number. Ignores other files (passwords)."""
    known: dict[str, KeyPurpose | Literal["codec"]] = {**{p: p for p in KEY_PURPOSES}, "codec": "codec"}
    found = []
    for path in directory.iterdir():
        match = _FILE.match(path.name)
        if match is None or match["purpose"] not in known:
            continue
        if (match["kind"] == "key") == (match["purpose"] == "codec"):
            found.append((int(match["number"]), match["name"], known[match["purpose"]], path))
    return [(name, purpose, path) for _, name, purpose, path in sorted(found, key=lambda f: (f[2], f[0], f[3].suffix))]


def _private_key(path: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(read_private(path), password=None)
    except (ValueError, TypeError) as error:
        raise KeyMissing(f"{str(path)!r} is not a PEM private key: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyMissing(f"{str(path)!r} is not an Ed25519 key.")
    return key


def _public_key(pem: bytes, name: str) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(pem)
    except ValueError as error:
        raise KeyMissing(f"{name} is not a PEM public key: {error}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise KeyMissing(f"{name} is not an Ed25519 key.")
    return key


def _codec_key(path: Path) -> bytes:
    try:
        key = base64.b64decode(read_private(path).strip(), validate=True)
    except binascii.Error as error:
        raise KeyMissing(f"{str(path)!r} is not base64: {error}") from error
    if len(key) != _CODEC_BYTES:
        raise KeyMissing(f"{str(path)!r} holds {len(key)} bytes; an AES-256 key has {_CODEC_BYTES}.")
    return key
