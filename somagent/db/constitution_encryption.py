"""Constitution encryption: documents at rest under AES-256-GCM with a codec key, bound to their digest."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from capsules.digest import Digest
from capsules.errors import ConstitutionRefused, Unavailable

NONCE_BYTES = 12


@dataclass(frozen=True)
class ConstitutionEncryption:
    """Encrypts and decrypts constitution documents. keys: codec keys by id; the last one encrypts, all decrypt."""

    keys: Mapping[str, bytes] = field(repr=False)

    def seal(self, plain: bytes, *, bound_to: Digest) -> tuple[str, bytes]:
        """Return the id of the key, and nonce with ciphertext. Raises Unavailable when there is no key."""
        if not self.keys:
            raise Unavailable("This process has no codec key (codec-1.key), so it cannot keep a constitution.")
        key_id, key = list(self.keys.items())[-1]
        nonce = os.urandom(NONCE_BYTES)
        return key_id, nonce + AESGCM(key).encrypt(nonce, plain, bound_to.encode("ascii"))

    def open(self, sealed: bytes, *, key_id: str, bound_to: Digest) -> bytes:
        """Return the plain bytes. Raises ConstitutionRefused when they were altered or the key is not here."""
        key = self.keys.get(key_id)
        if key is None:
            raise ConstitutionRefused(
                f"The constitution {bound_to} is encrypted with the codec key {key_id!r}, which is not here. "
                f"Known: {', '.join(self.keys) or 'none'}.",
                digest=bound_to,
            )
        try:
            return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound_to.encode("ascii"))
        except (InvalidTag, ValueError) as error:
            raise ConstitutionRefused(
                f"The constitution {bound_to} was altered: what is stored does not decrypt with {key_id!r}.",
                digest=bound_to,
            ) from error
