"""Payload codec: encrypts every payload with AES-256-GCM in this process, so that histories contain no clear text.

Each payload names its key, so keys can rotate: the newest key encrypts, every known key decrypts.
"""

import os
from collections.abc import Iterable, Mapping, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec

from capsules.errors import TamperedContent

ENCODING = b"binary/encrypted"
NONCE_BYTES = 12


class EncryptionCodec(PayloadCodec):
    """Encrypts and decrypts payloads. keys: AES-256 keys by id; the last one encrypts. Raises ValueError for none."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        if not keys:
            raise ValueError("There is no codec key: payloads would travel in clear text.")
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}
        self._newest = list(keys)[-1]

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Encrypt payloads with the newest key."""
        return [self._encrypt(payload) for payload in payloads]

    async def decode(self, payloads: Iterable[Payload]) -> list[Payload]:
        """Decrypt our payloads; return others unchanged, so that `temporal workflow signal` can send plain JSON.

        Raises TamperedContent for an altered payload or an unknown key.
        """
        return [self._decrypt(p) if p.metadata.get("encoding") == ENCODING else p for p in payloads]

    def _encrypt(self, payload: Payload) -> Payload:
        nonce = os.urandom(NONCE_BYTES)
        encrypted = self._ciphers[self._newest].encrypt(nonce, payload.SerializeToString(), ENCODING)
        return Payload(
            metadata={"encoding": ENCODING, "encryption-key-id": self._newest.encode()},
            data=nonce + encrypted,
        )

    def _decrypt(self, payload: Payload) -> Payload:
        key_id = payload.metadata.get("encryption-key-id", b"").decode()
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise TamperedContent(f"A payload names the codec key {key_id!r}. Known: {', '.join(self._ciphers)}.")
        try:
            return Payload.FromString(cipher.decrypt(payload.data[:NONCE_BYTES], payload.data[NONCE_BYTES:], ENCODING))
        except InvalidTag as error:
            raise TamperedContent(f"A payload of codec key {key_id!r} was altered.") from error
