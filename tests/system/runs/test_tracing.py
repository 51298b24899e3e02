"""Spans follow a run from the API into its activities, carry decision and score, and never what was said."""

import json
from pathlib import Path
from typing import Any

from capsule_texts import utility
from platforms import Platform
from servers import eventually

CANARY = "canary-7f3a9c-do-not-leak"
ECHO = "import json\nprint(json.dumps({'length': len(json.load(open('input.json'))['word'])}))"


def spans_in(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for file in directory.glob("*.jsonl") for line in file.read_text().splitlines()]


async def test_spans_tell_what_was_decided_and_nothing_of_what_was_said(platform: Platform) -> None:
    ref = await platform.publish(utility("echoes", ECHO))
    run = await platform.run(ref, {"word": CANARY})
    assert run["output"] == {"length": len(CANARY)}, run["reason"]
    directory = platform.settings.home / "traces"

    async def of_the_run() -> list[dict[str, Any]]:
        """Return the spans of the run's trace, as soon as its processes have written it to the end."""
        spans = spans_in(directory)
        traces = {s["context"]["trace_id"] for s in spans if s["attributes"].get("temporalWorkflowID") == run["id"]}
        assert len(traces) == 1, "the run's spans are not one trace"
        found = [span for span in spans if span["context"]["trace_id"] in traces]
        assert {"StartWorkflow:RunCapsule", "RunActivity:tool.invoke"} <= {span["name"] for span in found}
        return found

    spans = await eventually(of_the_run)
    tools = [span for span in spans if span["name"] == "RunActivity:tool.invoke"]
    assert [span["attributes"]["somagent.decision"] for span in tools] == ["allow"]
    assert all(CANARY not in file.read_text() for file in directory.iterdir())
