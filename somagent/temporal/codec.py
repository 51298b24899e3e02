"""Payload codec: encrypts every payload with AES-256-GCM and binds it to the workflow or activity it belongs to.

The binding (namespace, workflow id, activity id and type) is the associated data of the encryption, and stands in the
payload's metadata, so that the codec endpoint can decrypt what it has no context for. A payload decodes only where it
belongs: one that was copied from another run, or written by somebody without a key, is refused.

A refused payload is not an error of the codec, because one activation of a workflow carries many payloads: the codec
returns it under an encoding that only our payload converter knows, which raises when somebody reads it. Each payload
names its key, so keys can rotate: the newest key encrypts, every known key decrypts.
"""

import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic_core import from_json, to_json
from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    ActivitySerializationContext,
    PayloadCodec,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
)

from capsules.errors import TamperedContent
from somagent.identity.keys import KeyMissing

ENCODING = b"binary/encrypted"
REFUSED = b"binary/refused"
"""Encoding of a payload that is not authentic here; its data is the reason."""
UNAUTHENTICATED = b"unauthenticated/"
"""Before the encoding of a payload that a workflow received in clear text, from a person or from anybody."""
NOT_STARTED = b'"ACTIVITY_ID_NOT_STARTED"'
"""What Temporal's server itself writes, in clear text, as the details of a cancelled activity that was not running. It
says nothing else, and is the result of no activity."""
NONCE_BYTES = 12
_SCHEDULED_AT = re.compile(r"-\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z")
"""What Temporal appends to a schedule's workflow id: the payloads of a schedule are bound to the id before it."""


class Binding(NamedTuple):
    """What a payload belongs to: a workflow, or with a type one of its activities. `activity`: None if not known."""

    namespace: str
    workflow: str
    activity: str | None = None
    type: str | None = None

    @classmethod
    def of(cls, context: SerializationContext | None) -> Self | None:
        """Return the binding of the SDK's context. None without a workflow: a standalone activity, Nexus."""
        if isinstance(context, WorkflowSerializationContext):
            return cls(context.namespace, context.workflow_id)
        if isinstance(context, ActivitySerializationContext) and context.workflow_id:
            return cls(context.namespace, context.workflow_id, context.activity_id or None, context.activity_type or "")
        return None

    @classmethod
    def parse(cls, text: bytes) -> Self:
        """Return the binding in a payload's metadata. Raises TamperedContent."""
        try:
            return cls(*from_json(text))
        except (ValueError, TypeError) as error:
            raise TamperedContent("A payload's binding cannot be read.") from error

    def encode(self) -> bytes:
        """Return the bytes that stand in the metadata and are authenticated."""
        return to_json(self)

    @property
    def lacks_id(self) -> bool:
        """Whether it is an activity whose id is not known: one of a run from before the cut-over."""
        return self.type is not None and self.activity is None

    def covers(self, wanted: Self) -> bool:
        """Return whether a payload of this binding may be read as `wanted`."""
        if self == wanted:
            return True
        of_schedule = wanted.workflow.startswith(self.workflow) and _SCHEDULED_AT.fullmatch(
            wanted.workflow, len(self.workflow)
        )
        return bool(of_schedule) and self.type is None and self._replace(workflow=wanted.workflow) == wanted

    def __str__(self) -> str:
        return f"workflow {self.workflow!r}" if self.type is None else f"activity {self.type!r} of {self.workflow!r}"


class EncryptionCodec(PayloadCodec, WithSerializationContext):
    """Encrypts and decrypts payloads. Raises ValueError without a key.

    keys: AES-256 keys by id; the last one encrypts.
    unbound: ids of the workflows that were open when payloads were first bound: theirs, and those of their children,
        decode without a binding.
    """

    def __init__(self, keys: Mapping[str, bytes], unbound: Collection[str] = ()) -> None:
        if not keys:
            raise ValueError("There is no codec key: payloads would travel in clear text.")
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}
        self._newest = list(keys)[-1]
        self._unbound = unbound
        self._binding: Binding | None = None
        self._bound = b""

    def with_context(self, context: SerializationContext) -> Self:
        """Return the codec of what belongs to the workflow or activity of the context."""
        codec, binding = object.__new__(type(self)), Binding.of(context)
        bound = b"" if binding is None or binding.lacks_id else binding.encode()
        codec.__dict__ = {**self.__dict__, "_binding": binding, "_bound": bound}  # `copy` is five times slower
        return codec

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Encrypt payloads with the newest key. One that is encrypted and bound already, a header, stays as it is.

        A payload of an activity whose id is not known (a run from before the cut-over) is not bound.
        """
        return [
            payload if _is_encrypted(payload) and "bound-to" in payload.metadata else self._encrypt(payload)
            for payload in payloads
        ]

    async def decode(self, payloads: Iterable[Payload]) -> list[Payload]:
        """Return each payload decrypted. One that is not authentic here becomes REFUSED or UNAUTHENTICATED.

        Raises KeyMissing for an unknown key: Temporal tries again, and after a rotation another worker may know it.
        """
        return [self._decode(payload) for payload in payloads]

    def open(self, payload: Payload) -> tuple[Binding | None, Payload]:
        """Decrypt a payload of any workflow, for display only; return its binding too, None if it has none.

        Raises TamperedContent for an altered payload or one that is not encrypted, KeyMissing for an unknown key.
        """
        if not _is_encrypted(payload):
            raise TamperedContent("The payload is not encrypted: it was not written by this installation.")
        text = payload.metadata.get("bound-to")
        return (Binding.parse(text) if text else None), self._decrypt(payload, text or b"")

    def _decode(self, payload: Payload) -> Payload:
        binding = self._binding
        if not _is_encrypted(payload):
            if binding is None or binding.type is not None:
                if binding is not None and payload.data == NOT_STARTED:
                    return payload
                return _refused(f"A payload of {binding or 'no workflow'} is in clear text; somebody else wrote it.")
            encoding = payload.metadata.get("encoding", b"")
            return Payload(metadata={**payload.metadata, "encoding": UNAUTHENTICATED + encoding}, data=payload.data)
        text = payload.metadata.get("bound-to", b"")
        try:
            opened = self._decrypt(payload, text)
            if text and text == self._bound:
                return opened
            found = Binding.parse(text) if text else None
        except TamperedContent as error:
            return _refused(error.message)
        return opened if self._belongs(found) else _refused(f"A payload of {found or 'nothing'} came to {binding}.")

    def _belongs(self, found: Binding | None) -> bool:
        binding = self._binding
        if binding is None or found is None:
            return found is None and (binding is None or self.is_unbound(binding.workflow))
        if binding.lacks_id and self.is_unbound(binding.workflow):
            return found._replace(activity=None) == binding
        return found.covers(binding)

    def is_unbound(self, workflow: str) -> bool:
        """Return whether payloads of a workflow may lack a binding: it, or a parent, is older than bindings."""
        parts = workflow.split("/")
        return bool(self._unbound) and any("/".join(parts[:end]) in self._unbound for end in range(len(parts), 1, -1))

    def _encrypt(self, payload: Payload) -> Payload:
        nonce, bound = os.urandom(NONCE_BYTES), self._bound
        encrypted = self._ciphers[self._newest].encrypt(nonce, payload.SerializeToString(), ENCODING + bound)
        metadata = {"encoding": ENCODING, "encryption-key-id": self._newest.encode()}
        if bound:
            metadata["bound-to"] = bound
        return Payload(metadata=metadata, data=nonce + encrypted)

    def _decrypt(self, payload: Payload, bound: bytes) -> Payload:
        key_id = payload.metadata.get("encryption-key-id", b"").decode(errors="replace")
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise KeyMissing(f"A payload names the codec key {key_id!r}. Known: {', '.join(self._ciphers)}.")
        data = payload.data
        try:
            return Payload.FromString(cipher.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], ENCODING + bound))
        except (InvalidTag, ValueError) as error:
            raise TamperedContent(f"A payload of codec key {key_id!r} was altered.") from error


def _is_encrypted(payload: Payload) -> bool:
    return payload.metadata.get("encoding") == ENCODING


def _refused(reason: str) -> Payload:
    return Payload(metadata={"encoding": REFUSED}, data=reason.encode())
