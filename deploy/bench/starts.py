"""Benchmark of starts: a run by the API, against `client.start_workflow` of the same workflow."""

import uuid

import httpx
from bench import Bench, Turns, timed
from results import Result, result
from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy

from capsules.names import parse_reference
from capsules.runs.run import RunStart
from somagent.capsule_files.library import Library
from somagent.cli.credentials import PrincipalToken
from somagent.identity.keys import KeyRing
from somagent.local_stack.bootstrap import TENANT
from somagent.temporal.client import connect

CAPSULE = "word-count"
BLOCK = 5
"""Starts in a turn."""


async def measure(turns: Turns) -> list[Result]:
    settings = turns.settings
    client = await connect(settings, KeyRing.load(settings.keys_dir))
    auth = PrincipalToken(settings, "operator")
    capsule = Library.load().capsule(parse_reference(CAPSULE))
    start = RunStart(
        tenant=TENANT,
        capsule=capsule.ref,
        digest=capsule.digest(),
        inputs=capsule.spec.example or {},
        authority=auth.token(),
    )
    async with httpx.AsyncClient(base_url=settings.api_base(), auth=auth, timeout=60) as http:

        async def ours() -> list[float]:
            return [await _by_api(http, start) for _ in range(BLOCK)]

        async def anchor() -> list[float]:
            return [await _by_client(client, start) for _ in range(BLOCK)]

        times = await turns.compare(ours, anchor, warm=True)
    return [result("start-run", "ms p50", *times, scale=1e3)]


async def _by_api(http: httpx.AsyncClient, start: RunStart) -> float:
    path, key = f"/v1/capsules/{CAPSULE}/runs", {"Idempotency-Key": uuid.uuid4().hex}
    seconds, answer = await timed(http.post(path, json={"inputs": start.inputs}, headers=key))
    assert answer.status_code == 202, answer.text
    return seconds


async def _by_client(client: Client, start: RunStart) -> float:
    starting = client.start_workflow(
        "RunCapsule",
        start,
        id=f"{TENANT}/{CAPSULE}/{uuid.uuid4().hex}",
        task_queue="capsules",
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
        static_summary="Count words.",
    )
    seconds, _ = await timed(starting)
    return seconds


BENCH = Bench(
    name="starts",
    needs=("api",),
    measure=measure,
    explained={
        "start-run": "`POST /v1/capsules/word-count/runs` (token, capsule and its signature, inputs, run row, "
        "authority, workflow) against `client.start_workflow` of the same workflow with the same argument, options, "
        "converter and codec. No worker runs meanwhile, so that the started runs take no part of the machine."
    },
)
