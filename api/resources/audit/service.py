"""Digests of activity results in a Temporal history: what the outcome receipts of a run must have.

Only the keys of this installation tell whether a worker wrote a result, so the API decrypts it.
"""

from collections.abc import Mapping
from typing import Any

from google.protobuf.json_format import ParseDict, ParseError
from pydantic_core import from_json, to_json
from temporalio.api.common.v1 import Payload

from api.deps import State
from capsules.audit.temporal_history import ResultDigests
from capsules.digest import Digest, sha256
from capsules.errors import Invalid, TamperedContent
from somagent.identity.keys import KeyMissing
from somagent.temporal.codec import EncryptionCodec

JSON_ENCODINGS = {b"json/plain", b"binary/null"}


async def result_digests(state: State, tenant: str, run: str, results: Mapping[str, dict[str, Any]]) -> ResultDigests:
    """Return the digest of each authentic result of a run's activities, by activity id.

    None for a result that cannot be judged: one from before payloads were bound to their run, and that of a governed
    application, which has a codec of its own. A result that is not authentic is left out.
    results: payloads in Temporal's JSON. Raises Invalid for what is none.
    """
    async with state.db.transaction(tenant) as tx:
        if await tx.applications.find(run) is not None:
            return dict.fromkeys(results)
    codec = state.temporal.data_converter.payload_codec
    assert isinstance(codec, EncryptionCodec)  # `somagent.temporal.client.connect` always sets one
    try:
        payloads = {activity: ParseDict(one, Payload()) for activity, one in results.items()}
    except (ParseError, RecursionError, ValueError) as error:
        raise Invalid(f"A result is no Temporal payload: {error}") from error
    found = {activity: _digest(codec, run, activity, payload) for activity, payload in payloads.items()}
    return {activity: digest for activity, (authentic, digest) in found.items() if authentic}


def _digest(codec: EncryptionCodec, run: str, activity: str, payload: Payload) -> tuple[bool, Digest | None]:
    try:
        binding, opened = codec.open(payload)
    except (TamperedContent, KeyMissing):
        return False, None
    if binding is None:
        return codec.is_unbound(run), None
    if (binding.workflow, binding.activity) != (run, activity):
        return False, None
    if opened.metadata.get("encoding", b"") not in JSON_ENCODINGS:
        return True, sha256(opened.data)
    value = from_json(opened.data) if opened.data else None
    return True, sha256(to_json(value["value"] if isinstance(value, dict) and "value" in value else value))
