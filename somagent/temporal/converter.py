"""Payload converter: pydantic models as JSON, and a refusal to read payloads that are not authentic.

The codec marks such payloads by their encoding. Clear text is read only as a message that carries its own attestation,
such as the decision that a person sends by `temporal workflow signal`.
"""

from collections.abc import Sequence
from copy import copy
from typing import Any, Self

from temporalio.api.common.v1 import Payload
from temporalio.contrib.pydantic import PydanticPayloadConverter
from temporalio.converter import ActivitySerializationContext, SerializationContext

from capsules.actions.headers import keep_received_arguments, payload_parts
from capsules.errors import TamperedContent
from somagent.temporal.codec import REFUSED, UNAUTHENTICATED


class AuthenticPayloadConverter(PydanticPayloadConverter):
    """Reads authentic payloads. In an activity it keeps the digest of its arguments for the policy interceptor."""

    _of_activity = False

    def with_context(self, context: SerializationContext) -> Self:
        """Return the converter of an activity's payloads; itself for a workflow's."""
        if not isinstance(context, ActivitySerializationContext):
            return self
        converter = copy(self)  # shares the type adapters, which are slow to build
        converter._of_activity = True  # noqa: SLF001 - an instance of this class
        return converter

    def from_payloads(self, payloads: Sequence[Payload], type_hints: list[type] | None = None) -> list[Any]:
        """Return the values. Raises TamperedContent for a payload that is not authentic."""
        if self._of_activity:
            keep_received_arguments(payload_parts(payloads))
        hints = type_hints or []
        checked = [
            _require_authentic(payload, hints[index] if index < len(hints) else None)
            for index, payload in enumerate(payloads)
        ]
        return super().from_payloads(checked, type_hints)


def _require_authentic(payload: Payload, hint: Any) -> Payload:  # noqa: ANN401 - any type hint
    encoding = payload.metadata.get("encoding", b"")
    if encoding == REFUSED:
        raise TamperedContent(payload.data.decode())
    if not encoding.startswith(UNAUTHENTICATED):
        return payload
    if not getattr(hint, "attested", False):
        raise TamperedContent(
            f"{getattr(hint, '__name__', 'A value')} came in clear text, which only a message with an attestation may."
        )
    return Payload(metadata={**payload.metadata, "encoding": encoding.removeprefix(UNAUTHENTICATED)}, data=payload.data)
