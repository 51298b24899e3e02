"""Payloads travel encrypted, are refused when altered, and stay readable across a rotation of keys."""

import secrets

import pytest
from temporalio.api.common.v1 import Payload

from capsules.errors import TamperedContent
from somagent.temporal.codec import EncryptionCodec

OLD, NEW = secrets.token_bytes(32), secrets.token_bytes(32)
CLEAR = Payload(metadata={"encoding": b"json/plain"}, data=b'{"secret": "canary"}')


async def test_what_was_encrypted_is_read_again_and_shows_nothing() -> None:
    codec = EncryptionCodec({"codec-1": OLD})
    [sealed] = await codec.encode([CLEAR])
    assert b"canary" not in sealed.SerializeToString()
    assert await codec.decode([sealed]) == [CLEAR]


async def test_the_same_payload_is_sealed_differently_each_time() -> None:
    codec = EncryptionCodec({"codec-1": OLD})
    [one], [other] = await codec.encode([CLEAR]), await codec.encode([CLEAR])
    assert one.data != other.data


async def test_after_a_rotation_old_payloads_are_read_and_new_ones_use_the_new_key() -> None:
    [before] = await EncryptionCodec({"codec-1": OLD}).encode([CLEAR])
    rotated = EncryptionCodec({"codec-1": OLD, "codec-2": NEW})
    [after] = await rotated.encode([CLEAR])
    assert after.metadata["encryption-key-id"] == b"codec-2"
    assert await rotated.decode([before, after]) == [CLEAR, CLEAR]


@pytest.mark.parametrize("place", [0, 11, 12, -1])
async def test_one_changed_byte_is_refused(place: int) -> None:
    codec = EncryptionCodec({"codec-1": OLD})
    [sealed] = await codec.encode([CLEAR])
    data = bytearray(sealed.data)
    data[place] ^= 1
    with pytest.raises(TamperedContent, match="altered"):
        await codec.decode([Payload(metadata=dict(sealed.metadata), data=bytes(data))])


async def test_an_unknown_key_is_named() -> None:
    [sealed] = await EncryptionCodec({"codec-9": NEW}).encode([CLEAR])
    with pytest.raises(TamperedContent, match="codec-9"):
        await EncryptionCodec({"codec-1": OLD}).decode([sealed])


async def test_plain_json_of_a_command_line_passes() -> None:
    assert await EncryptionCodec({"codec-1": OLD}).decode([CLEAR]) == [CLEAR]


def test_without_a_key_nothing_is_built() -> None:
    with pytest.raises(ValueError, match="clear text"):
        EncryptionCodec({})
