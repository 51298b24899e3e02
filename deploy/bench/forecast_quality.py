"""Measurement of forecast quality: real runs of shipped capsules with the local model, each forecast at admission.

    .venv/bin/python deploy/bench/forecast_quality.py --runs 320

No mocks, no invented values: the inputs are cuts of the capsules' own examples and of this repository's documents,
drawn with a seed. Only the last 60 % of each capsule's runs are evaluated (held out), by their forecasts at admission.
Writes docs/forecasts.json, docs/forecasts.png and docs/forecasts.svg.
"""

import argparse
import asyncio
import datetime as dt
import json
import random
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from platforms import Platform, platform_in  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.progress import track  # noqa: E402
from servers import settings_in, temporary_home  # noqa: E402

from capsules.capsule import Capsule  # noqa: E402
from capsules.forecasts.forecast import PastRun  # noqa: E402
from policy.forecasts.forecaster import accuracy  # noqa: E402
from somagent.capsule_files.library import Library  # noqa: E402
from somagent.cli.forecast_plot import draw  # noqa: E402

CAPSULES = ("issue-triage", "meeting-summary")
HELD_OUT = 0.6
GOAL = (0.87, 0.95)
RUN_SECONDS = 600
SHORTEST_TITLE = 3
AT_ONCE = 2
"""Runs at the same time. The local model answers two requests at once."""


def read_paragraphs(chance: random.Random) -> list[str]:
    """Return the paragraphs of this repository's documents, shuffled."""
    found = []
    for file in sorted((ROOT / "docs").glob("*.md")):
        found += [part.strip() for part in file.read_text("utf-8").split("\n\n") if 60 < len(part) < 1500]
    chance.shuffle(found)
    return found


def inputs_of(capsule: Capsule, chance: random.Random, prose: Sequence[str]) -> dict[str, Any]:
    """Return inputs for one run: a cut of the example, or a paragraph as an issue."""
    example: dict[str, Any] = capsule.spec.example or {}
    if "transcript" in example:
        lines = example["transcript"].splitlines()
        first = chance.randrange(0, max(1, len(lines) - 6))
        return {"transcript": "\n".join(lines[first : first + chance.randrange(5, len(lines))])}
    body = chance.choice(prose)
    title = body.split(".")[0].strip("#|> -*`")[:120]
    return {"issue": {"title": title if len(title) >= SHORTEST_TITLE else "Question", "body": body}}


def jobs(count: int, seed: int) -> Iterator[tuple[str, dict[str, Any]]]:
    chance = random.Random(seed)  # noqa: S311 - a reproducible measurement
    known = {capsule.metadata.name: capsule for capsule in Library.load().capsules}
    prose = read_paragraphs(chance)
    for number in range(count):
        name = CAPSULES[number % len(CAPSULES)]
        yield name, inputs_of(known[name], chance, prose)


async def run_all(platform: Platform, work: Sequence[tuple[str, dict[str, Any]]]) -> list[PastRun]:
    """Run everything, and return the forecasts and the usage of the runs, oldest first."""
    slots = asyncio.Semaphore(AT_ONCE)
    statuses: Counter[str] = Counter()

    async def run(capsule: str, inputs: dict[str, Any]) -> None:
        async with slots:
            statuses[(await platform.run(capsule, inputs, seconds=RUN_SECONDS))["status"]] += 1

    async with asyncio.TaskGroup() as group:
        pending = [group.create_task(run(*job)) for job in work]
        done = asyncio.as_completed(pending)
        for task in track(done, total=len(pending), description="runs", console=Console(stderr=True)):
            await task
    found: list[PastRun] = []
    for name in CAPSULES:
        answer = await platform.operator.get("/v1/forecasts", params={"capsule": name, "limit": 500})
        found += [PastRun.model_validate(item) for item in answer.json()["items"]]
    print("ended:", dict(statuses), file=sys.stderr)
    return found


def held_out_runs(past: Sequence[PastRun]) -> list[PastRun]:
    """Return the last 60 % of the runs of each capsule."""
    by_capsule: dict[str, list[PastRun]] = defaultdict(list)
    for one in past:
        by_capsule[one.shape.capsule].append(one)
    return [one for runs in by_capsule.values() for one in runs[round(len(runs) * (1 - HELD_OUT)) :]]


def report(past: Sequence[PastRun], seed: int) -> dict[str, Any]:
    """Return the figures of the held-out runs, compared with the mean of all runs before each."""
    late = {one.run for one in held_out_runs(past)}
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
        # Shows how much a slope over the length of the inputs can explain.
        "length_correlation": {name: correlation(past, name) for name in CAPSULES},
    }


def correlation(past: Sequence[PastRun], capsule: str) -> float:
    """Return Pearson's correlation of input length and tokens of a capsule's runs."""
    pairs = [(one.shape.input_length, one.tokens) for one in past if one.shape.capsule == capsule]
    return statistics.correlation(*map(list, zip(*pairs, strict=True)))


def without_forecast(one: PastRun) -> PastRun:
    """Return the run with a static forecast, so that it is learned from but not evaluated."""
    return one.model_copy(update={"forecast": one.forecast.model_copy(update={"basis": "static"})})


async def measure(count: int, seed: int) -> list[PastRun]:
    with temporary_home() as home:
        settings = settings_in(home, rate_limit_per_minute=1_000_000)
        async with platform_in(settings) as platform:
            return await run_all(platform, list(jobs(count, seed)))


def main() -> None:
    parser = argparse.ArgumentParser(prog="deploy/bench/forecast_quality.py", description=__doc__)
    parser.add_argument("--runs", type=int, default=320, help="number of real runs (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=20_261_126, help="seed of the inputs (default: %(default)s)")
    parser.add_argument("--dry", action="store_true", help="show the figures and write nothing")
    arguments = parser.parse_args()
    past = asyncio.run(measure(arguments.runs, arguments.seed))
    found = report(past, arguments.seed)
    print(json.dumps(found, indent=2))
    if not arguments.dry:
        docs, late = ROOT / "docs", held_out_runs(past)
        (docs / "forecasts.json").write_text(json.dumps(found, indent=2) + "\n")
        for suffix in (".png", ".svg"):
            draw(late, accuracy(late), docs / f"forecasts{suffix}")


if __name__ == "__main__":
    main()
