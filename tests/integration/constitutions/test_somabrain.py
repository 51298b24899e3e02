"""SomaBrain is told where it can be, and what it does not offer is said to be unsupported, never a success."""

import hashlib

import pytest
from constitution_changes import ConstitutionChanges
from platforms import Platform
from servers import eventually, free_ports

from capsules.errors import Unavailable
from somagent.constitutions.somabrain import SomaBrain, Unsupported, checksum


async def test_an_activation_says_that_this_server_does_not_take_constitutions(changes: ConstitutionChanges) -> None:
    done = await changes.activate(await changes.next())

    async def told() -> None:
        assert (await changes.activation(done["id"]))["somabrain"] is not None

    await eventually(told)
    said = (await changes.activation(done["id"]))["somabrain"]
    assert said["status"] == "unsupported"
    assert "/api/constitution/version: 404" in said["detail"]
    assert "/constitution/version: 404" in said["detail"]


async def test_each_endpoint_that_is_not_offered_is_unsupported(stack: Platform) -> None:
    brain = SomaBrain.at(stack.settings.api_base())
    try:
        for asked in (brain.version(), brain.load({"version": "1"})):
            with pytest.raises(Unsupported, match="does not offer"):
                await asked
    finally:
        await brain.close()


async def test_a_server_that_is_away_is_a_failure_and_no_success() -> None:
    brain = SomaBrain.at(f"http://127.0.0.1:{free_ports(1)[0]}")
    try:
        with pytest.raises(Unavailable, match="cannot be reached"):
            await brain.version()
        mirrored = await brain.mirror({"version": "1"})
    finally:
        await brain.close()
    assert (mirrored.status, "cannot be reached" in mirrored.detail) == ("failed", True)


def test_the_checksum_is_over_sorted_keys_without_spaces() -> None:
    assert checksum({"b": 1, "a": [True]}) == hashlib.sha3_512(b'{"a":[true],"b":1}').hexdigest()
