"""Attacks of a tool's program on the platform around it (actor e)."""

import json

import pytest
from capsule_texts import utility
from platforms import Platform

PARTS = ("api_port", "temporal_port", "postgres_port", "valkey_port")
CONNECTS = """
import json, socket
inputs = json.load(open("input.json"))
said = {}
for address in inputs["addresses"]:
    for port in inputs["ports"]:
        try:
            socket.create_connection((address, port), timeout=2)
            said[f"{address}:{port}"] = "connected"
        except OSError as error:
            said[f"{address}:{port}"] = type(error).__name__
print(json.dumps(said))
"""


@pytest.mark.parametrize("address", ["127.0.0.1", "172.17.0.1"])
async def test_a_tool_program_reaches_no_part_of_the_platform(platform: Platform, address: str) -> None:
    """The loopback address is the container's own, and the engine's bridge is not there."""
    ports = [getattr(platform.settings, part) for part in PARTS]
    ref = await platform.publish(utility(f"connects-{address.replace('.', '-')}", CONNECTS))
    ended = await platform.run(ref, {"addresses": [address], "ports": ports})
    assert ended["status"] == "completed", ended["reason"]
    expected = "ConnectionRefusedError" if address == "127.0.0.1" else "OSError"
    said = ended["output"] if isinstance(ended["output"], dict) else json.loads(ended["output"])
    assert said == {f"{address}:{port}": expected for port in ports}
