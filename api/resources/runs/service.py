"""Starting runs: find and check the capsule, check the inputs, enter the run, mint its authority, start the workflow.

Each step can be repeated: the same idempotency key ends in the same run, wherever an earlier try stopped.
"""

import time
from dataclasses import dataclass
from typing import Any

from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from api.deps import State
from api.resources.runs.inputs import check_inputs
from api.resources.runs.preflight import foresee_start
from api.temporal import translated
from capsules.actions.verdict import Verdict
from capsules.budgets.amounts import Amounts
from capsules.capsule import Capsule
from capsules.digest import Digest, canonical, digest
from capsules.errors import Conflict, Invalid, NotFound, PolicyDenied
from capsules.identity.authority import Authority
from capsules.names import Reference, parse_reference
from capsules.read_models import NewRun, Principal, PublishedCapsule, RunRecord
from capsules.runs.run import TERMINAL, RunStart, StartCapsule
from somagent.identity.signatures import verify_capsule

QUEUE = "capsules"
"""The workflows' task queue. The API names workflows and queue by text: it needs none of their code."""
DAY = 86_400
LONGEST_ID = 255


@dataclass(frozen=True)
class Started:
    """A run, whether this request made it, and what the gate was foreseen to say of its start."""

    run: RunRecord
    created: bool
    verdict: Verdict | None


def workflow_of(capsule: Capsule) -> str:
    """Return the workflow type that runs this capsule."""
    return "RunProject" if capsule.spec.type == "composite" else "RunCapsule"


async def find(state: State, caller: Principal, reference: Reference) -> PublishedCapsule:
    """Return the published capsule, its signature checked."""
    async with state.store.transaction(caller.tenant) as tx:
        published = await tx.capsules.get(reference)
    verify_capsule(state.keyring, published)
    return published


async def start(  # noqa: PLR0913 - what a request says
    state: State,
    caller: Principal,
    *,
    reference: Reference,
    inputs: dict[str, Any],
    budget: Amounts | None,
    key: str,
    project: str | None = None,
) -> Started:
    """Start a run, or return the one that this key started. Raises PolicyDenied where the gate would deny it."""
    account = await account_for(state, caller.tenant, project)
    published = await find(state, caller, reference)
    check_inputs(published.capsule, inputs)
    run = f"{caller.tenant}/{published.capsule.metadata.name}/{key}"
    if len(run) > LONGEST_ID:
        raise Invalid(f"The run's id would have {len(run)} characters, of at most {LONGEST_ID}: use a shorter key.")
    asked = {
        "actor": caller.subject,  # another person may not ride on this key
        "capsule": str(reference),
        "inputs": inputs,
        "budget": budget.model_dump() if budget else None,
        **({"project": project} if project else {}),
    }
    new = NewRun(
        id=run,
        capsule=published.capsule.ref,
        digest=published.digest,
        actor=caller.subject,
        inputs=inputs,
        request=digest(asked),
    )
    verdict = await _foreseen(state, caller, new, budget, account)
    async with state.store.transaction(caller.tenant) as tx:
        record, created = await tx.runs.accept(new)
    if record.status not in TERMINAL:
        if record.capsule != published.capsule.ref:  # a newer version was published since this key's first request
            published = await find(state, caller, parse_reference(record.capsule))
        await _start_workflow(state, caller, published, run=run, inputs=inputs, budget=budget, account=account)
    return Started(record, created, verdict)


async def account_for(state: State, tenant: str, project: str | None) -> str:
    """Return the account that a start takes its budget from. Raises NotFound or Conflict for no open project."""
    if project is None:
        return f"tenant:{tenant}"
    async with state.store.transaction(tenant) as tx:
        found = await tx.accounts.get(f"project:{project}")
    if found.closed:
        raise Conflict(f"Project {project!r} is closed; nothing can be started in it.", project=project)
    return found.id


async def _foreseen(
    state: State, caller: Principal, new: NewRun, budget: Amounts | None, account: str
) -> Verdict | None:
    """Return what the gate would say. A run that this key started before is returned whatever it would say now."""
    claims = start_claims(state, caller, run=new.id, ref=new.capsule, capsule=new.digest, account=account)
    length = len(canonical(new.inputs).decode())
    request = StartCapsule(
        capsule=new.capsule, digest=new.digest, inputs=digest(new.inputs), input_length=length, budget=budget
    )
    try:
        return await foresee_start(state, claims, request)
    except PolicyDenied:
        try:
            async with state.store.transaction(caller.tenant) as tx:
                await tx.runs.get(new.id)
        except NotFound:
            pass
        else:
            return None
        raise


async def _start_workflow(  # noqa: PLR0913
    state: State,
    caller: Principal,
    published: PublishedCapsule,
    *,
    run: str,
    inputs: dict[str, Any],
    budget: Amounts | None,
    account: str,
) -> None:
    argument = RunStart(
        tenant=caller.tenant,
        capsule=published.capsule.ref,
        digest=published.digest,
        inputs=inputs,
        authority=start_authority(
            state, caller, run=run, ref=published.capsule.ref, capsule=published.digest, account=account
        ),
        budget=budget,
    )
    with translated(f"run {run!r}"):
        try:
            await state.temporal.start_workflow(
                workflow_of(published.capsule),
                argument,
                id=run,
                task_queue=QUEUE,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                static_summary=published.capsule.metadata.summary[:200],
            )
        except WorkflowAlreadyStartedError:
            return  # it ran and ended; the row will say so


def start_authority(  # noqa: PLR0913
    state: State, caller: Principal, *, run: str, ref: str, capsule: Digest, account: str, prefix: bool = False
) -> str:
    """Return the token that lets one run, or every run of a schedule, start this capsule and nothing else."""
    return state.tokens.mint_authority(
        start_claims(state, caller, run=run, ref=ref, capsule=capsule, account=account, prefix=prefix)
    )


def start_claims(  # noqa: PLR0913
    state: State, caller: Principal, *, run: str, ref: str, capsule: Digest, account: str, prefix: bool = False
) -> Authority:
    """Return what that token says."""
    return Authority(
        kind="start",
        tenant=caller.tenant,
        actor=caller.subject,
        run=run,
        prefix=prefix,
        account=account,
        capsules={ref: capsule},
        expires_at=authority_expiry(state),
    )


def authority_expiry(state: State) -> int:
    return int(time.time()) + state.settings.authority_days * DAY
