"""Runner of the benchmarks (`make bench`): it measures and writes docs/benchmarks.md and docs/benchmarks.json.

No mocks: it starts a local stack in a temporary home on free ports, and leaves a running one alone.
"""

import argparse
import asyncio
import contextlib
import datetime as dt
import os
import platform
import sys
from collections.abc import AsyncIterator, Sequence
from functools import partial
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
from results import Result, merge, read, write  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn  # noqa: E402
from rich.table import Column, Table  # noqa: E402
from servers import running, settings_in, temporary_home  # noqa: E402

from somagent.settings import Settings  # noqa: E402

BENCHES: tuple[Bench, ...] = (
    *(governed.BENCH, decision.BENCH, proofs.BENCH, container.BENCH, model_calls.BENCH, starts.BENCH),
    *(audit_blocks.BENCH, reservations.BENCH, forecasts.BENCH),
)
STEPS = 100


@contextlib.asynccontextmanager
async def stack(benches: Sequence[Bench], settings: Settings) -> AsyncIterator[None]:
    """Run the parts that these benchmarks need."""
    needed = {part for bench in benches for part in bench.needs}
    async with running(settings, *needed) if needed else contextlib.nullcontext():
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
                report = partial(_report, progress, tasks[bench.name])
                found += await bench.measure(Turns(settings, seconds, report))
                report(1)
    return found


def _report(progress: Progress, task: TaskID, share: float) -> None:
    progress.update(task, completed=round(share * STEPS))


def machine() -> str:
    """Return the description of this machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), {memory:.0f} GiB of memory, {platform.system()} "
        f"{platform.release()}, Python {platform.python_version()}"
    )


def result_table(results: Sequence[Result]) -> Table:
    table = Table(Column("name", no_wrap=True), "unit", "ours", "anchor", "ratio", "goal", "met")
    for entry in results:
        table.add_row(*entry.cells())
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
    write(merge(read(), results), facts=facts, explained=explained)


if __name__ == "__main__":
    main()
