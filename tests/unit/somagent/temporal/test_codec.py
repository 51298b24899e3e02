"""Payloads travel encrypted and bound to their workflow or activity, are refused elsewhere, and survive a rotation."""

import secrets
from typing import Any

import pytest
from pydantic import ValidationError
from temporalio.api.common.v1 import Payload
from temporalio.converter import ActivitySerializationContext, SerializationContext, WorkflowSerializationContext

from capsules.actions.verdict import Acknowledgement, Outcome
from capsules.approvals.approval import ApprovalDecision
from capsules.errors import TamperedContent
from capsules.runs.run import Control, RunStart
from somagent.identity.keys import KeyMissing
from somagent.temporal.codec import NOT_STARTED, REFUSED, UNAUTHENTICATED, EncryptionCodec
from somagent.temporal.converter import AuthenticPayloadConverter

OLD, NEW = secrets.token_bytes(32), secrets.token_bytes(32)
CLEAR = Payload(metadata={"encoding": b"json/plain"}, data=b'{"secret": "canary"}')
RUN, OTHER = "acme/asks/1", "acme/asks/2"


def workflow(run: str = RUN, namespace: str = "default") -> WorkflowSerializationContext:
    return WorkflowSerializationContext(namespace, run)


def activity(id_: str | None = "a-1", kind: str = "tool.invoke", run: str | None = RUN) -> ActivitySerializationContext:
    return ActivitySerializationContext("default", id_, kind, "tools", run, "RunCapsule", is_local=False)


def codec(context: SerializationContext | None = None, **given: Any) -> EncryptionCodec:
    made = EncryptionCodec({"codec-1": OLD}, **given)
    return made.with_context(context) if context else made


async def sealed(context: SerializationContext | None) -> Payload:
    [payload] = await codec(context).encode([CLEAR])
    return payload


async def encoding(payload: Payload, context: SerializationContext | None, **given: Any) -> bytes:
    [opened] = await codec(context, **given).decode([payload])
    assert opened == CLEAR or opened.data != CLEAR.data
    return opened.metadata["encoding"]


@pytest.mark.parametrize("context", [None, workflow(), activity()], ids=["none", "workflow", "activity"])
async def test_what_was_encrypted_is_read_again_and_shows_nothing(context: SerializationContext | None) -> None:
    payload = await sealed(context)
    assert b"canary" not in payload.SerializeToString()
    assert await codec(context).decode([payload]) == [CLEAR]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (workflow(), workflow(OTHER)),
        (workflow(), workflow(namespace="other")),
        (workflow(), activity()),
        (activity(), workflow()),
        (activity(), activity("a-2")),
        (activity(), activity(kind="slm.chat")),
        (activity(), activity(run=OTHER)),
        (activity(), activity(None)),
        (activity(), activity(run=None)),
        (workflow(), None),
        (None, workflow()),
        (None, activity()),
    ],
)
async def test_a_payload_is_read_only_where_it_belongs(
    written: SerializationContext | None, read: SerializationContext | None
) -> None:
    assert await encoding(await sealed(written), read) == REFUSED


async def test_the_metadata_of_a_binding_cannot_be_changed() -> None:
    """The binding is authenticated: rewritten for another run, the payload does not decrypt."""
    mine, theirs = await sealed(workflow()), await sealed(workflow(OTHER))
    forged = Payload(metadata={**mine.metadata, "bound-to": theirs.metadata["bound-to"]}, data=mine.data)
    assert await encoding(forged, workflow(OTHER)) == REFUSED
    stripped = Payload(metadata={k: v for k, v in mine.metadata.items() if k != "bound-to"}, data=mine.data)
    assert await encoding(stripped, workflow(), unbound={RUN}) == REFUSED


@pytest.mark.parametrize("of", [f"{RUN}-2026-11-28T08:00:00Z", RUN])
async def test_the_input_of_a_schedule_is_read_by_the_runs_that_it_starts(of: str) -> None:
    assert await encoding(await sealed(workflow()), workflow(of)) == b"json/plain"


@pytest.mark.parametrize(
    "of", [f"{RUN}-x", f"{RUN}0", f"{RUN}-2026-11-28T08:00:00Z/task", f"{RUN}/2026-11-28T08:00:00Z"]
)
async def test_and_by_no_other_workflow(of: str) -> None:
    assert await encoding(await sealed(workflow()), workflow(of)) == REFUSED


async def test_an_activity_of_a_scheduled_run_reads_nothing_of_the_schedule() -> None:
    later = activity(run=f"{RUN}-2026-11-28T08:00:00Z")
    assert await encoding(await sealed(activity()), later) == REFUSED


@pytest.mark.parametrize("context", [workflow(), activity(), activity(None)])
async def test_payloads_from_before_the_cut_over_are_read_in_the_runs_that_were_open_then(
    context: SerializationContext,
) -> None:
    payload = await sealed(None)
    assert "bound-to" not in payload.metadata
    assert await encoding(payload, context, unbound={RUN}) == b"json/plain"
    assert await encoding(payload, context, unbound={OTHER, "acme", "acme/asks/1/task"}) == REFUSED


async def test_a_child_of_a_run_from_before_is_read_as_its_parent_is() -> None:
    payload = await sealed(None)
    assert await encoding(payload, workflow(f"{RUN}/task"), unbound={RUN}) == b"json/plain"
    assert await encoding(payload, workflow(f"{RUN}0/task"), unbound={RUN}) == REFUSED


async def test_an_activity_whose_id_the_workflow_does_not_know_is_of_a_run_from_before() -> None:
    result = await sealed(activity())
    assert await encoding(result, activity(None), unbound={RUN}) == b"json/plain"
    assert await encoding(result, activity(None, "slm.chat"), unbound={RUN}) == REFUSED
    assert "bound-to" not in (await sealed(activity(None))).metadata


@pytest.mark.parametrize("context", [None, activity(), activity(None), activity(run=None)])
async def test_clear_text_is_refused_outside_workflows(context: SerializationContext | None) -> None:
    assert await encoding(CLEAR, context, unbound={RUN}) == REFUSED


async def test_what_the_server_writes_when_it_cancels_is_read_of_an_activity_and_is_no_result() -> None:
    """Temporal writes it in clear text, as the details of a cancelled activity that was not running."""
    server = Payload(metadata={"encoding": b"json/plain"}, data=NOT_STARTED)
    assert await codec(activity()).decode([server]) == [server]
    for hint in (Outcome[str], Acknowledgement):
        with pytest.raises(ValidationError):
            AuthenticPayloadConverter().with_context(activity()).from_payloads([server], [hint])
    assert await encoding(server, None) == REFUSED
    assert await encoding(server, activity(run=None)) == REFUSED
    assert await encoding(server, workflow()) == UNAUTHENTICATED + b"json/plain"


async def test_a_workflow_reads_clear_text_only_as_a_message_with_an_attestation() -> None:
    decision = ApprovalDecision(approval="a", action="sha256:" + "0" * 64, token="t")
    plain = Payload(metadata={"encoding": b"json/plain"}, data=decision.model_dump_json().encode())
    received = await codec(workflow()).decode([plain])
    assert received[0].metadata["encoding"] == UNAUTHENTICATED + b"json/plain"
    converter = AuthenticPayloadConverter().with_context(workflow())
    assert converter.from_payloads(received, [ApprovalDecision]) == [decision]
    for hint in (Control, RunStart, dict):
        with pytest.raises(TamperedContent, match="clear text"):
            converter.from_payloads(received, [hint])
    with pytest.raises(TamperedContent, match="clear text"):
        converter.from_payloads(received)


async def test_what_was_refused_says_why_when_it_is_read() -> None:
    refused = await codec(workflow(OTHER)).decode([await sealed(workflow())])
    with pytest.raises(TamperedContent, match=f"{RUN}.*{OTHER}"):
        AuthenticPayloadConverter().from_payloads(refused, [dict])


async def test_an_encrypted_header_is_not_encrypted_twice() -> None:
    payload = await sealed(workflow())
    assert await codec().encode([payload]) == [payload]


async def test_the_same_payload_is_sealed_differently_each_time() -> None:
    assert (await sealed(workflow())).data != (await sealed(workflow())).data


async def test_after_a_rotation_old_payloads_are_read_and_new_ones_use_the_new_key() -> None:
    before = await sealed(workflow())
    rotated = EncryptionCodec({"codec-1": OLD, "codec-2": NEW}).with_context(workflow())
    [after] = await rotated.encode([CLEAR])
    assert after.metadata["encryption-key-id"] == b"codec-2"
    assert await rotated.decode([before, after]) == [CLEAR, CLEAR]


@pytest.mark.parametrize("place", [0, 11, 12, -1])
async def test_one_changed_byte_is_refused(place: int) -> None:
    payload = await sealed(workflow())
    data = bytearray(payload.data)
    data[place] ^= 1
    altered = Payload(metadata=dict(payload.metadata), data=bytes(data))
    assert await encoding(altered, workflow()) == REFUSED
    with pytest.raises(TamperedContent, match="altered"):
        codec().open(altered)


async def test_an_unknown_key_is_named_and_may_be_known_later() -> None:
    [payload] = await EncryptionCodec({"codec-9": NEW}).with_context(workflow()).encode([CLEAR])
    with pytest.raises(KeyMissing, match="codec-9"):
        await codec(workflow()).decode([payload])


def test_without_a_key_nothing_is_built() -> None:
    with pytest.raises(ValueError, match="clear text"):
        EncryptionCodec({})
