"""The past under a constitution: why a decision was made, and what a candidate would have decided in real runs."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Self

from fastapi import APIRouter
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, model_validator
from pydantic.config import JsonDict

from api.access import PolicyReader
from api.deps import Soma, State
from api.middleware.bodies import StorableJsonRoute
from api.middleware.problems import responses
from api.resources.policy.dry_run import SupposedAction, SupposedFacts
from api.resources.policy.subjects import Overlays, Subject, callers_documents, document_of, read
from api.run_urls import require_own, url
from capsules.constitutions.proof import Backtest, Explanation, Flip, RecordedAction, RecordedDecision
from capsules.digest import Digest
from capsules.errors import Denied, NotFound
from capsules.read_models import Principal
from policy.decide.backtest import backtest as judged_again
from policy.decide.engine import Policy
from policy.prove import review

router = APIRouter(prefix="/v1/policy", tags=["policy"], route_class=StorableJsonRoute)

ONE_SUBJECT: list[JsonValue] = [{"required": ["action"]}, {"required": ["approval"]}, {"required": ["run", "seq"]}]
EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
BATCH_SECONDS = 60.0
"""How long the next receipts may take: a thread must not wait for an event loop that is no more."""
EXAMPLE: JsonDict = {"action": {"kind": "tool.invoke", "target": "python@1.0.0/run", "data": "secret"}}


class ToExplain(BaseModel):
    """An action that nobody has taken, a waiting approval, or a decision of a run by its receipt."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE], "oneOf": ONE_SUBJECT})

    constitution: Subject = "active"
    action: SupposedAction | None = None
    facts: SupposedFacts = SupposedFacts()
    approval: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,199}$")
    run: str | None = Field(None, max_length=255, pattern=r"^[ -~]+$")
    seq: int | None = Field(None, ge=1, le=2**53 - 1, description="Of the decision's receipt.")

    @model_validator(mode="after")
    def _one_subject(self) -> Self:
        if (self.run is None) != (self.seq is None):
            raise ValueError("`run` and `seq` go together")
        if (self.action is not None) + (self.approval is not None) + (self.run is not None) != 1:
            raise ValueError("an explanation is of one `action`, one `approval`, or one `run` and `seq`")
        return self


class ToBacktest(BaseModel):
    """A candidate, and which runs to judge again."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"candidate": "active", "runs": 100}]})

    candidate: Subject
    overlays: Overlays = ()
    runs: int = Field(200, ge=1, le=10_000, description="At most so many, the newest.")
    since: AwareDatetime | None = Field(
        None, ge=EARLIEST, le=LATEST, description="Only runs that began then or later; with its offset from UTC."
    )


class LinkedFlip(Flip):
    """With where to look."""

    link: str = Field(description="The run.")
    receipts: str = Field(description="The run's receipts from this decision on.")


class BacktestAnswer(Backtest):
    flips: tuple[LinkedFlip, ...] = Field(description="The first of each run, newest run first.")


@router.post("/explain", responses=responses(404))
async def explain(body: ToExplain, caller: PolicyReader, soma: Soma) -> Explanation:
    """Say which clauses force a decision, the smallest change after which it would be allowed, and who can approve."""
    if body.action is not None:
        document = await document_of(soma, caller, body.constitution)
        with callers_documents():
            return await soma.explanations.of_document(document, body.action.plain(), body.facts.of(caller))
    _may_see_runs(caller)
    found = await _decision(soma, caller, body)
    policy = await _policy(soma, found.verdict.constitution)
    return await soma.explanations.of(policy, found.action, found.facts)


@router.post("/backtest", responses=responses(404))
async def backtest(body: ToBacktest, caller: PolicyReader, soma: Soma) -> BacktestAnswer:
    """Judge what real runs did again: the first action of each that the candidate would decide otherwise."""
    _may_see_runs(caller)
    document = await document_of(soma, caller, body.candidate)
    loop, skipped = asyncio.get_running_loop(), 0
    async with soma.store.transaction(caller.tenant) as tx:
        batches = aiter(tx.decision_log.batches(newest=body.runs, since=body.since))

        async def following() -> list[RecordedAction | None] | None:
            return await anext(batches, None)

        def recorded() -> Iterator[RecordedAction]:
            nonlocal skipped
            while (batch := asyncio.run_coroutine_threadsafe(following(), loop).result(BATCH_SECONDS)) is not None:
                skipped += batch.count(None)
                yield from (one for one in batch if one is not None)

        def piece() -> Backtest:
            return judged_again(review.candidate(document, body.overlays).policy, recorded())

        found = await read(soma, piece)
    return BacktestAnswer(
        candidate=found.candidate,
        runs=found.runs,
        actions=found.actions,
        skipped=skipped,
        flips=tuple(map(_linked, found.flips)),
    )


def _may_see_runs(caller: Principal) -> None:
    if "run:read" not in caller.capabilities:
        raise Denied("What runs did is shown to who holds the capability 'run:read', too.", capability="run:read")


async def _decision(soma: State, caller: Principal, body: ToExplain) -> RecordedDecision:
    async with soma.store.transaction(caller.tenant) as tx:
        if body.run is not None and body.seq is not None:
            return await tx.decision_log.decision(require_own(body.run, caller), body.seq)
        asked = await tx.approvals.get(str(body.approval))
        found = await tx.decision_log.asked(asked.run, asked.id)
    if found is None:
        raise NotFound(f"The receipts of run {asked.run!r} do not say on what facts {asked.id!r} was asked for.")
    return found


async def _policy(soma: State, digest: Digest) -> Policy:
    """Return the constitution of then, also where it was revoked since: it only says why, and decides nothing."""
    record = await soma.store.constitutions.get(digest)
    return await soma.proofs.work(lambda: review.policy_of(record.document))


def _linked(flip: Flip) -> LinkedFlip:
    link = url(flip.run)
    return LinkedFlip(**dict(flip), link=link, receipts=f"{link}/receipts?after={flip.seq - 1}")
