"""Schedules as callers write and read them, and as Temporal keeps them."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator
from pydantic.config import JsonDict
from temporalio.client import (
    Schedule as TemporalSchedule,
)
from temporalio.client import (
    ScheduleActionExecutionStartWorkflow,
    ScheduleActionStartWorkflow,
    ScheduleDescription,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleState,
)

from api.deps import State
from api.resources.runs.preflight import foresee_start
from api.resources.runs.service import QUEUE, find, start_authority, workflow_of
from api.run_urls import KEY, REFERENCE
from capsules.actions.verdict import Verdict
from capsules.budgets.amounts import Amounts
from capsules.digest import canonical, digest
from capsules.duration import Duration
from capsules.errors import Conflict
from capsules.names import Name, ReferenceText, parse_reference
from capsules.read_models import Principal, PublishedCapsule
from capsules.runs.run import RunStart, StartCapsule

Overlap = Literal["skip", "buffer_one", "buffer_all", "cancel_other", "terminate_other", "allow_all"]
Cron = Annotated[str, Field(pattern=r"^[0-9*/,A-Za-z?-]+( [0-9*/,A-Za-z?-]+){4}$", max_length=100)]
MOST = 500

EXAMPLE: JsonDict = {"name": "monday-report", "capsule": "weekly-report@1", "cron": ["0 7 * * 1"], "inputs": {}}


ONE_TIME: list[JsonValue] = [{"required": ["cron"]}, {"required": ["every"]}]


class NewSchedule(BaseModel):
    """When to start which capsule with what. Times are UTC."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE], "oneOf": ONE_TIME})

    name: str = Field(pattern=KEY, max_length=100)
    capsule: ReferenceText = Field(
        pattern=REFERENCE, max_length=160, description="Resolved now: runs stay on the version found."
    )
    inputs: dict[str, Any] = Field(default_factory=dict)
    budget: Amounts | None = Field(None, description="Of each run. Unset: the capsule's own.")
    project: Name | None = Field(None, description="Whose budget its runs spend. Unset: the tenant's.")
    cron: tuple[Cron, ...] = Field((), max_length=10, description="Five cron fields each.")
    every: Duration | None = Field(None, description="Seconds, or `30m`, `1d`.")
    overlap: Overlap = Field("skip", description="What to do when the last run has not ended.")
    catch_up: Duration = Field(600, description="Starts missed for longer than this are left out.")
    paused: bool = False
    note: str = Field("", max_length=500)

    @model_validator(mode="after")
    def _some_time(self) -> Self:
        if bool(self.cron) == (self.every is not None):
            raise ValueError("a schedule has either `cron` or `every`")
        return self


class Times(BaseModel):
    """When, as it was asked for: Temporal keeps calendars, from which nobody could read the cron text again."""

    cron: tuple[str, ...] = ()
    every: int | None = None


class Schedule(BaseModel):
    """A schedule as it stands."""

    name: str
    capsule: str = Field(description="`name@version`.")
    account: str = Field(description="What its runs take their budget from: the tenant's account or a project's.")
    actor: str = Field(description="In whose name its runs start.")
    authority_expires_at: int = Field(
        description="Unix seconds; from then on its runs are refused. Unpausing renews it."
    )
    cron: tuple[str, ...]
    every: int | None = Field(None, description="Seconds.")
    overlap: str
    catch_up: int = Field(description="Seconds.")
    paused: bool
    note: str
    next: tuple[datetime, ...] = Field(description="The next times.")
    recent: tuple[str, ...] = Field(description="Ids of the runs that it started last.")


def schedule_of(
    soma: State, caller: Principal, asked: NewSchedule, published: PublishedCapsule, account: str
) -> TemporalSchedule:
    """Return what Temporal keeps."""
    return TemporalSchedule(
        action=_action(
            soma,
            caller,
            name=asked.name,
            published=published,
            inputs=asked.inputs,
            budget=asked.budget,
            account=account,
        ),
        spec=ScheduleSpec(
            cron_expressions=list(asked.cron),
            intervals=[ScheduleIntervalSpec(timedelta(seconds=asked.every))] if asked.every else [],
        ),
        policy=SchedulePolicy(
            overlap=ScheduleOverlapPolicy[asked.overlap.upper()], catchup_window=timedelta(seconds=asked.catch_up)
        ),
        state=ScheduleState(note=asked.note, paused=asked.paused),
    )


async def action_of(
    soma: State, caller: Principal, name: str, known: ScheduleDescription
) -> ScheduleActionStartWorkflow:
    """Return the action of a known schedule, renewed in the caller's name."""
    given = await _start_of(soma, known)
    published = await find(soma, caller, parse_reference(given.capsule))
    account = soma.tokens.read_authority(given.authority).account
    return _action(
        soma, caller, name=name, published=published, inputs=given.inputs, budget=given.budget, account=account
    )


async def foreseen(soma: State, known: ScheduleDescription) -> Verdict | None:
    """Return what the gate would say of the next run's start. Raises PolicyDenied where it would deny it."""
    given = await _start_of(soma, known)
    request = StartCapsule(
        capsule=given.capsule,
        digest=given.digest,
        inputs=digest(given.inputs),
        input_length=len(canonical(given.inputs).decode()),
        budget=given.budget,
    )
    return await foresee_start(soma, soma.tokens.read_authority(given.authority), request)


async def describe(soma: State, caller: Principal, known: ScheduleDescription) -> Schedule:
    """Return a schedule as callers read it."""
    given, schedule = await _start_of(soma, known), known.schedule
    authority = soma.tokens.read_authority(given.authority)
    times = await known.memo_value("times", Times(), type_hint=Times)
    return Schedule(
        name=known.id.removeprefix(f"{caller.tenant}/"),
        capsule=given.capsule,
        account=authority.account,
        actor=authority.actor,
        authority_expires_at=authority.expires_at,
        cron=times.cron,
        every=times.every,
        overlap=schedule.policy.overlap.name.lower(),
        catch_up=int(schedule.policy.catchup_window.total_seconds()) if schedule.policy.catchup_window else 0,
        paused=schedule.state.paused,
        note=schedule.state.note or "",
        next=tuple(known.info.next_action_times[:5]),
        recent=tuple(
            result.action.workflow_id
            for result in known.info.recent_actions[-10:]
            if isinstance(result.action, ScheduleActionExecutionStartWorkflow)
        ),
    )


async def list_own(soma: State, caller: Principal) -> tuple[Schedule, ...]:
    """Return the tenant's schedules. Another tenant's are told apart by their ids, which start with the tenant."""
    ids = []
    async for entry in await soma.temporal.list_schedules():
        if entry.id.startswith(f"{caller.tenant}/"):
            ids.append(entry.id)
            if len(ids) == MOST:
                break
    return tuple([await describe(soma, caller, await soma.temporal.get_schedule_handle(id_).describe()) for id_ in ids])


def _action(  # noqa: PLR0913 - what a start says
    soma: State,
    caller: Principal,
    *,
    name: str,
    published: PublishedCapsule,
    inputs: dict[str, Any],
    budget: Amounts | None,
    account: str,
) -> ScheduleActionStartWorkflow:
    # Temporal appends `-` and the time of the start, so this prefix is one that no other schedule's runs have.
    run = f"{caller.tenant}/{published.capsule.metadata.name}/{name}"
    ref = published.capsule.ref
    authority = start_authority(
        soma, caller, run=f"{run}-", ref=ref, capsule=published.digest, account=account, prefix=True
    )
    argument = RunStart(
        tenant=caller.tenant, capsule=ref, digest=published.digest, inputs=inputs, authority=authority, budget=budget
    )
    return ScheduleActionStartWorkflow(workflow_of(published.capsule), argument, id=run, task_queue=QUEUE)


async def _start_of(soma: State, known: ScheduleDescription) -> RunStart:
    action = known.schedule.action
    if not isinstance(action, ScheduleActionStartWorkflow):
        raise Conflict(f"Schedule {known.id!r} starts no workflow; it was not made here.")
    payloads = await soma.temporal.data_converter.decode(list(action.args), [RunStart])
    start: RunStart = payloads[0]
    return start
