"""Payloads of activities: a field that is renamed in the code keeps its name in Temporal's histories."""

import json

from temporalio.contrib.pydantic import pydantic_data_converter

from capsules.constitutions.proposal import ActivationStep, CastVote, Vote
from capsules.digest import digest


def test_a_recorded_vote_is_read_and_written_in_the_same_form() -> None:
    converter = pydantic_data_converter.payload_converter
    vote = {"change": digest({}), "comment": "", "token": "t"}
    recorded = {"step": {"tenant": "acme", "id": "one"}, "consent": vote, "approve": True}
    cast = converter.from_payload(converter.to_payload(recorded), CastVote)
    assert cast == CastVote(step=ActivationStep(tenant="acme", id="one"), vote=Vote(**vote), approve=True)
    assert json.loads(converter.to_payload(cast).data) == recorded
