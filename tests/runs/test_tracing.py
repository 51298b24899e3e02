"""Spans follow a run from the API into its activities, carry decision and score, and never what was said."""

import asyncio
import json
from pathlib import Path
from typing import Any

from files import utility
from platforms import platform_in
from servers import settings_in, temporary_home

CANARY = "canary-7f3a9c-do-not-leak"
ECHO = "import json\nprint(json.dumps({'length': len(json.load(open('input.json'))['word'])}))"


def spans_in(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for file in directory.glob("*.jsonl") for line in file.read_text().splitlines()]


async def test_spans_tell_what_was_decided_and_nothing_of_what_was_said() -> None:
    with temporary_home() as home:
        settings = settings_in(home, trace_dir=home / "traces")
        async with platform_in(settings) as platform:
            ref = await platform.publish(utility("echoes", ECHO))
            run = await platform.run(ref, {"word": CANARY})
            assert run["output"] == {"length": len(CANARY)}, run["reason"]
            await asyncio.sleep(1)
        spans = spans_in(home / "traces")
        text = "".join(file.read_text() for file in (home / "traces").iterdir())
    names = [span["name"] for span in spans]
    assert any(name.startswith("StartWorkflow:RunCapsule") for name in names)
    tools = [span for span in spans if span["name"] == "RunActivity:tool.invoke"]
    assert [span["attributes"]["somagent.decision"] for span in tools] == ["allow"]
    assert len({span["context"]["trace_id"] for span in spans if "RunCapsule" in span["name"] or span in tools}) == 1
    assert CANARY not in text
