"""Benchmark of the gate: `artifact.publish` as a governed action, against the same activity without the gate."""

import asyncio
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from bench import Bench, Turns, timed
from results import Goal, Result, result
from rig import Rig, Run, rig
from temporalio import activity, workflow

from capsules.actions.verdict import Outcome
from capsules.budgets.amounts import Amounts
from capsules.digest import canonical, sha256
from capsules.runs.run import Artifact, ArtifactDraft
from somagent.content.postgres import PostgresArtifacts
from somagent.local_stack.bootstrap import TENANT

GOVERNED, BARE = "artifact.publish", "bare.publish"
PARALLEL = 20
SEQUENCE = 10


@dataclass(frozen=True)
class Job:
    """Input of a workflow: `count` activities of one type, in sequence."""

    activity: str
    authority: str
    count: int


@workflow.defn(name="Publishes", sandboxed=False)
class Publishes:
    """Publishes in sequence and returns the seconds of each. It reads a clock, so it is not sandboxed."""

    @workflow.init
    def __init__(self, job: Job) -> None:
        self.authority = job.authority

    @workflow.run
    async def run(self, job: Job) -> list[float]:
        taken = []
        for number in range(job.count):
            draft = ArtifactDraft(name=f"{number}.json", content={"run": workflow.info().workflow_id, "n": number})
            began = time.perf_counter()
            await workflow.execute_activity(
                job.activity,
                draft,
                activity_id=str(workflow.uuid4()),  # the codec binds payloads to it, also without our interceptors
                result_type=Outcome[Artifact],
                start_to_close_timeout=timedelta(minutes=1),
                heartbeat_timeout=timedelta(seconds=15),
            )
            taken.append(time.perf_counter() - began)
        return taken


@dataclass(frozen=True)
class UngovernedPublish:
    """The body of `artifact.publish` without the gate: the same two writes into the same tables."""

    artifacts: PostgresArtifacts

    @activity.defn(name=BARE)
    async def publish(self, draft: ArtifactDraft) -> Outcome[Artifact]:
        data = draft.content.encode() if isinstance(draft.content, str) else canonical(draft.content)
        artifact = Artifact(name=draft.name, media_type=draft.media_type, digest=sha256(data), size=len(data))
        await self.artifacts.add(TENANT, str(activity.info().workflow_id), artifact, data)
        return Outcome(value=artifact)


async def measure(turns: Turns) -> list[Result]:
    async with rig(turns.settings) as found:
        db = found.assembly.db
        ungoverned = UngovernedPublish(PostgresArtifacts(db))
        await found.work(GOVERNED, activities=[found.assembly.artifacts.publish], workflow=Publishes, governed=True)
        await found.work(BARE, activities=[ungoverned.publish], workflow=Publishes, governed=False)
        together, alone = turns.parts(2)
        rates = await together.compare(
            lambda: _throughput(found, GOVERNED), lambda: _throughput(found, BARE), warm=True
        )
        times = await alone.compare(lambda: _latencies(found, GOVERNED), lambda: _latencies(found, BARE), warm=True)
    return [
        result("governed-throughput", "activities/s", *rates, goal=Goal("ratio", ">=", 0.8)),
        result("governed-latency", "ms p50", *times, scale=1e3, goal=Goal("added", "<=", 5)),
    ]


async def _throughput(found: Rig, kind: str) -> list[float]:
    """Return the activities per second of runs in parallel."""
    runs = await found.new_runs(PARALLEL, Amounts(tokens=1))
    seconds, _ = await timed(asyncio.gather(*(_execute(found, kind, run) for run in runs)))
    return [PARALLEL * SEQUENCE / seconds]


async def _latencies(found: Rig, kind: str) -> list[float]:
    """Return the seconds of each activity of a single run."""
    (run,) = await found.new_runs(1, Amounts(tokens=1))
    return await _execute(found, kind, run)


async def _execute(found: Rig, kind: str, run: Run) -> list[float]:
    job = Job(kind, run.authority, SEQUENCE)
    taken: Any = await found.assembly.client.execute_workflow(Publishes.run, job, id=run.id, task_queue=kind)
    return list(taken)


BENCH = Bench(
    name="governed",
    needs=("bootstrap", "temporal", "valkey"),
    measure=measure,
    explained={
        "governed-throughput": f"{PARALLEL} workflows in parallel publish {SEQUENCE} small JSON artifacts each, in "
        "sequence: `artifact.publish` behind the gate (authority, default constitution, ledger, two receipts) against "
        "the same two writes on a Temporal worker without interceptors, with the same client, converter and codec.",
        "governed-latency": f"One workflow alone, {SEQUENCE} of the same activities in sequence, each timed inside "
        "the workflow from asking to result. `added` is ours - anchor.",
    },
)
