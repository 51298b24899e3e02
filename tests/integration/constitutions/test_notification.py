"""A person hears that a constitution waits for them, and with which commands to answer."""

import datetime as dt

from capsules.events import Event
from somagent.notifications.notification import compose


def test_a_proposed_constitution_is_told_with_the_commands_that_answer_it() -> None:
    data = {"activation": "k1", "proposed_by": "operator", "scope": "*", "constitution": "sha256:" + "1" * 64}
    at = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)
    event = Event(id=7, topic="approval.events", type="constitution.proposed", tenant="local", at=at, data=data)
    told = compose(event, None, api="http://127.0.0.1:8080")
    assert told.title == "A constitution for everybody waits for your yes or no"
    assert told.commands == ("somagent policy approve k1", "somagent policy reject k1")
    assert "operator proposed it" in told.text
    assert str(told.url).endswith("/v1/constitutions/activations/k1")
