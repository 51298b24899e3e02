"""Quality of forecasts: real runs of shipped capsules with the local model, each forecast before it acts.

    .venv/bin/python deploy/bench/forecast_quality.py --runs 320

No mocks, no invented values: the inputs are seeded cuts of the capsules' own examples and of this repository's
documents; the last 60 % of each capsule's runs are held out, that is, they are counted as they were forecast when they
were admitted. Writes docs/forecasts.json, docs/forecasts.png and docs/forecasts.svg.
"""

import argparse
import asyncio
import datetime as dt
import json
import random
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

import httpx  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.progress import track  # noqa: E402
from servers import running, settings_in, temporary_home  # noqa: E402

from capsules.capsule import Capsule  # noqa: E402
from capsules.forecasts.forecast import PastRun  # noqa: E402
from policy.forecasts.forecaster import accuracy  # noqa: E402
from somagent.capsule_files.library import Library  # noqa: E402
from somagent.cli.forecast_plot import draw  # noqa: E402
from somagent.settings import Settings  # noqa: E402

CAPSULES = ("issue-triage", "meeting-summary")
HELD_OUT = 0.6
GOAL = (0.87, 0.95)
ENDED = {"completed", "failed", "cancelled"}
SHORTEST_TITLE = 3
AT_ONCE = 2
"""Runs under way: the local model answers one after the other."""


def texts(chance: random.Random) -> list[str]:
    """Return the paragraphs of our own documents, shuffled: real prose of all lengths."""
    found = []
    for file in sorted((ROOT / "docs").glob("*.md")):
        found += [part.strip() for part in file.read_text("utf-8").split("\n\n") if 60 < len(part) < 1500]
    chance.shuffle(found)
    return found


def inputs_of(capsule: Capsule, chance: random.Random, prose: Sequence[str]) -> dict[str, Any]:
    """Return inputs for one run: a cut of the example, or a document's words as an issue."""
    example: dict[str, Any] = capsule.spec.example or {}
    if "transcript" in example:
        lines = example["transcript"].splitlines()
        first = chance.randrange(0, max(1, len(lines) - 6))
        return {"transcript": "\n".join(lines[first : first + chance.randrange(5, len(lines))])}
    body = chance.choice(prose)
    title = body.split(".")[0].strip("#|> -*`")[:120]
    return {"issue": {"title": title if len(title) >= SHORTEST_TITLE else "Question", "body": body}}


def jobs(count: int, seed: int) -> Iterator[tuple[str, dict[str, Any]]]:
    chance = random.Random(seed)  # noqa: S311 - a measurement's, and reproducible on purpose
    known = {capsule.metadata.name: capsule for capsule in Library.load().capsules}
    prose = texts(chance)
    for number in range(count):
        name = CAPSULES[number % len(CAPSULES)]
        yield name, inputs_of(known[name], chance, prose)


async def run_all(settings: Settings, work: Sequence[tuple[str, dict[str, Any]]]) -> list[PastRun]:
    """Run everything, and return what was forecast and what it took, oldest first."""
    token = json.loads(settings.credentials_file.read_text())["operator"]["token"]
    headers = {"Authorization": f"Bearer {token}"}
    few = asyncio.Semaphore(AT_ONCE)
    statuses: dict[str, int] = defaultdict(int)

    # A connection that the server is about to close for idleness is not used again.
    fresh = httpx.Limits(keepalive_expiry=1)
    async with httpx.AsyncClient(base_url=settings.api_base(), headers=headers, timeout=60, limits=fresh) as http:

        async def one(number: int, name: str, inputs: dict[str, Any]) -> None:
            async with few:
                key = {"Idempotency-Key": f"quality-{number}"}
                answer = await http.post(f"/v1/capsules/{name}/runs", json={"inputs": inputs}, headers=key)
                answer.raise_for_status()
                run = answer.json()["id"].replace("/", "~")
                while (status := (await http.get(f"/v1/runs/{run}")).json()["status"]) not in ENDED:  # noqa: ASYNC110 - the API is asked
                    await asyncio.sleep(0.1)
                statuses[status] += 1

        async with asyncio.TaskGroup() as group:
            pending = [group.create_task(one(number, *job)) for number, job in enumerate(work)]
            done = asyncio.as_completed(pending)
            for task in track(done, total=len(pending), description="runs", console=Console(stderr=True)):
                await task
        found: list[PastRun] = []
        for name in CAPSULES:
            answer = await http.get("/v1/forecasts", params={"capsule": name, "limit": 500})
            found += [PastRun.model_validate(item) for item in answer.json()["items"]]
    print("ended:", dict(statuses), file=sys.stderr)
    return found


def held_out(past: Sequence[PastRun]) -> list[PastRun]:
    of: dict[str, list[PastRun]] = defaultdict(list)
    for one in past:
        of[one.shape.capsule].append(one)
    return [one for runs in of.values() for one in runs[round(len(runs) * (1 - HELD_OUT)) :]]


def report(past: Sequence[PastRun], seed: int) -> dict[str, Any]:
    """Return the figures over the held-out runs; the mean that is compared with is that of all runs before each."""
    late = {one.run for one in held_out(past)}
    figures = accuracy([one if one.run in late else without_forecast(one) for one in past])
    runs, covered = sum(one.runs for one in figures), sum(one.covered for one in figures)
    return {
        "date": f"{dt.datetime.now(dt.UTC):%Y-%m-%d}",
        "seed": seed,
        "runs": len(past),
        "held_out": runs,
        "coverage": covered / runs if runs else None,
        "goal": list(GOAL),
        "capsules": [one.model_dump(mode="json") for one in figures],
        # What the slope could learn from: how tokens go with the length of the inputs.
        "length_correlation": {name: correlation(past, name) for name in CAPSULES},
    }


def correlation(past: Sequence[PastRun], capsule: str) -> float:
    """Return Pearson's correlation of input length and tokens."""
    pairs = [(one.shape.input_length, one.tokens) for one in past if one.shape.capsule == capsule]
    return statistics.correlation(*map(list, zip(*pairs, strict=True)))


def without_forecast(one: PastRun) -> PastRun:
    """Return the run as one that is learned from, but whose forecast does not count."""
    return one.model_copy(update={"forecast": one.forecast.model_copy(update={"basis": "static"})})


async def measure(count: int, seed: int) -> list[PastRun]:
    with temporary_home() as home:
        settings = settings_in(home, rate_limit_per_minute=1_000_000)
        async with running(settings):
            return await run_all(settings, list(jobs(count, seed)))


def main() -> None:
    parser = argparse.ArgumentParser(prog="deploy/bench/forecast_quality.py", description=__doc__)
    parser.add_argument("--runs", type=int, default=320, help="how many real runs (default: 320)")
    parser.add_argument("--seed", type=int, default=20_261_126, help="of the inputs")
    parser.add_argument("--dry", action="store_true", help="show the figures and write nothing")
    arguments = parser.parse_args()
    past = asyncio.run(measure(arguments.runs, arguments.seed))
    found = report(past, arguments.seed)
    print(json.dumps(found, indent=2))
    if not arguments.dry:
        docs = ROOT / "docs"
        (docs / "forecasts.json").write_text(json.dumps(found, indent=2) + "\n")
        for suffix in (".png", ".svg"):
            late = held_out(past)
            draw(late, accuracy(late), docs / f"forecasts{suffix}")


if __name__ == "__main__":
    main()
