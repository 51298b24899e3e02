"""`make bench`: measure ours and the anchors by turns, and write docs/benchmarks.md and docs/benchmarks.json.

No mocks: a local stack of its own, in a temporary home and on free ports, so a running one is left alone.
"""

import argparse
import asyncio
import contextlib
import datetime as dt
import os
import platform
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

import audit_blocks  # noqa: E402
import container  # noqa: E402
import decision  # noqa: E402
import forecasts  # noqa: E402
import governed  # noqa: E402
import model_calls  # noqa: E402
import proofs  # noqa: E402
import reservations  # noqa: E402
import starts  # noqa: E402
from bench import Bench, Turns  # noqa: E402
from results import Result, figure, merged, met, read, write  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn  # noqa: E402
from rich.table import Column, Table  # noqa: E402
from servers import running, settings_in, temporary_home  # noqa: E402

from somagent.settings import Settings  # noqa: E402

BENCHES: tuple[Bench, ...] = (
    governed.BENCH,
    decision.BENCH,
    proofs.BENCH,
    container.BENCH,
    model_calls.BENCH,
    starts.BENCH,
    audit_blocks.BENCH,
    reservations.BENCH,
    forecasts.BENCH,
)
STEPS = 100


@contextlib.asynccontextmanager
async def stack(benches: Sequence[Bench], settings: Settings) -> AsyncIterator[None]:
    """Run what the chosen benchmarks need, and nothing else."""
    needed = {part for bench in benches for part in bench.needs}
    if not needed:
        yield
        return
    async with running(settings, *needed):
        yield


async def measure_all(benches: Sequence[Bench], seconds: float, progress: Progress) -> list[Result]:
    found: list[Result] = []
    starting_up = progress.add_task("stack", total=1)
    with temporary_home() as home:
        settings = settings_in(home, rate_limit_per_minute=1_000_000)
        async with stack(benches, settings):
            progress.update(starting_up, completed=1)
            tasks = {bench.name: progress.add_task(bench.name, total=STEPS) for bench in benches}
            for bench in benches:
                found += await bench.measure(_turns(settings, seconds, progress, tasks[bench.name]))
                progress.update(tasks[bench.name], completed=STEPS)
    return found


def _turns(settings: Settings, seconds: float, progress: Progress, task: TaskID) -> Turns:
    return Turns(settings, seconds, lambda share: progress.update(task, completed=round(share * STEPS)))


def machine() -> str:
    """Return the line that says what was measured on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), {memory:.0f} GiB of memory, {platform.system()} "
        f"{platform.release()}, Python {platform.python_version()}"
    )


def result_table(results: Sequence[Result]) -> Table:
    table = Table(Column("name", no_wrap=True), "unit", "ours", "anchor", "ratio", "goal", "met")
    for entry in results:
        table.add_row(
            entry.name, entry.unit, f"{entry.ours:g}", figure(entry.anchor), figure(entry.ratio), entry.goal, met(entry)
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(prog="deploy/bench/run.py", description=__doc__)
    parser.add_argument("--only", choices=[bench.name for bench in BENCHES], help="measure one and keep the others")
    parser.add_argument("--seconds", type=float, default=20, help="how long each measures (default: %(default)g)")
    parser.add_argument("--date", default=dt.datetime.now(dt.UTC).date().isoformat(), help="date for the table")
    parser.add_argument("--dry", action="store_true", help="show the figures and write no document")
    chosen = parser.parse_args()
    benches = [bench for bench in BENCHES if chosen.only in {None, bench.name}]
    console = Console()
    load = os.getloadavg()
    columns = (TextColumn("{task.description:>10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        results = asyncio.run(measure_all(benches, chosen.seconds, progress))
    console.print(result_table(results))
    if chosen.dry:
        return
    facts = (
        ("Command", f"`make bench` (`python deploy/bench/run.py --seconds {chosen.seconds:g}`; `--only NAME` for one)"),
        ("Machine", machine()),
        ("Date", chosen.date),
        ("Load average when it began", ", ".join(f"{value:.1f}" for value in load)),
        ("Measured then", ", ".join(f"`{entry.name}`" for entry in results)),
    )
    explained = {name: text for bench in BENCHES for name, text in bench.explained.items()}
    write(merged(read(), results), facts=facts, explained=explained)


if __name__ == "__main__":
    main()
