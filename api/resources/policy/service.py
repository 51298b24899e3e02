"""Work of the policy routes: load a constitution, dry-run, explain and backtest."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from api.deps import State
from api.resources.constitutions.service import visible
from api.resources.policy.schemas import (
    BacktestAnswer,
    ConstitutionChoice,
    DryRun,
    DryRunResult,
    Judged,
    LinkedFlip,
    ToBacktest,
    ToExplain,
)
from api.resources.runs.preflight import actions_of
from api.resources.runs.service import find
from api.run_urls import require_own, url
from capsules.constitutions.proof import Backtest, Explanation, Flip, RecordedAction, RecordedDecision
from capsules.digest import Digest
from capsules.errors import ConstitutionRefused, Denied, Invalid, NotFound
from capsules.identity.principal import Principal
from capsules.names import parse_reference
from policy.decide.engine import Policy
from policy.prove import review
from policy.prove.comparison import backtest as evaluate_again

BATCH_SECONDS = 60.0
"""How long a thread waits for the next receipts: it must not wait for an event loop that has ended."""


async def document_of(soma: State, caller: Principal, subject: ConstitutionChoice) -> dict[str, Any]:
    """Return the document. Raises NotFound for one that does not concern the caller's tenant."""
    if isinstance(subject, dict):
        return subject
    if subject == "active":
        return (await soma.db.constitutions.active(caller.tenant)).document
    return (await visible(soma, caller, Digest(subject))).document


@contextmanager
def _invalid_not_refused() -> Iterator[None]:
    """Raise Invalid, with every faulty clause, for a constitution that does not load: the caller sent it."""
    try:
        yield
    except ConstitutionRefused as error:
        raise Invalid(error.message, **error.fields) from error


async def prove_work[R](soma: State, piece: Callable[[], R]) -> R:
    """Return the result of work on a caller's documents in the proof pool. Raises Invalid and Unavailable."""
    with _invalid_not_refused():
        return await soma.proofs.work(piece)


async def dry_run(soma: State, caller: Principal, body: DryRun) -> DryRunResult:
    """Evaluate an action, or each action that a capsule declares. Raises NotFound for an unknown capsule."""
    active = await soma.db.constitutions.active(caller.tenant)
    policy = await soma.policies.get(active.digest)
    facts = body.facts.of(caller)
    if body.action is not None:
        actions = [body.action.plain()]
    else:
        actions = actions_of(await find(soma, caller, parse_reference(body.capsule or "")), soma.library)
    judged = []
    for action in actions:
        verdict = policy.evaluate(action, facts)
        explained = None if verdict.decision == "allow" else await soma.explanations.of(policy, action, facts)
        judged.append(Judged(action=action, verdict=verdict, explanation=explained))
    return DryRunResult(constitution=active.digest, judged=tuple(judged))


async def explain(soma: State, caller: Principal, body: ToExplain) -> Explanation:
    """Explain a hypothetical action or a recorded decision. Raises Denied, Invalid or NotFound."""
    if body.action is not None:
        document = await document_of(soma, caller, body.constitution)
        with _invalid_not_refused():
            return await soma.explanations.of_document(document, body.action.plain(), body.facts.of(caller))
    _require_run_reader(caller)
    found = await _decision(soma, caller, body)
    policy = await _policy(soma, found.verdict.constitution)
    return await soma.explanations.of(policy, found.action, found.facts)


async def backtest(soma: State, caller: Principal, body: ToBacktest) -> BacktestAnswer:
    """Evaluate recorded actions under the candidate. Raises Denied, Invalid, NotFound or Unavailable.

    The evaluation runs in a thread of the proof pool and takes batches of receipts from the event loop.
    """
    _require_run_reader(caller)
    document = await document_of(soma, caller, body.candidate)
    loop, skipped = asyncio.get_running_loop(), 0
    async with soma.db.transaction(caller.tenant) as tx:
        batches = aiter(tx.decision_log.batches(newest=body.runs, since=body.since))

        async def next_batch() -> list[RecordedAction | None] | None:
            return await anext(batches, None)

        def recorded() -> Iterator[RecordedAction]:
            nonlocal skipped
            while (batch := asyncio.run_coroutine_threadsafe(next_batch(), loop).result(BATCH_SECONDS)) is not None:
                skipped += batch.count(None)
                yield from (one for one in batch if one is not None)

        def evaluate() -> Backtest:
            return evaluate_again(review.load_candidate(document, body.overlays).policy, recorded())

        found = await prove_work(soma, evaluate)
    return BacktestAnswer(**dict(found) | {"skipped": skipped, "flips": tuple(map(_linked, found.flips))})


def _require_run_reader(caller: Principal) -> None:
    if "run:read" not in caller.capabilities:
        raise Denied("What runs did is shown to who holds the capability 'run:read', too.", capability="run:read")


async def _decision(soma: State, caller: Principal, body: ToExplain) -> RecordedDecision:
    async with soma.db.transaction(caller.tenant) as tx:
        if body.run is not None and body.seq is not None:
            return await tx.decision_log.decision(require_own(body.run, caller), body.seq)
        asked = await tx.approvals.get(str(body.approval))
        found = await tx.decision_log.for_approval(asked.run, asked.id)
    if found is None:
        raise NotFound(f"The receipts of run {asked.run!r} do not say on what facts {asked.id!r} was asked for.")
    return found


async def _policy(soma: State, digest: Digest) -> Policy:
    """Return the constitution of a recorded decision, revoked or not: an explanation decides nothing."""
    record = await soma.db.constitutions.get(digest)
    return await soma.proofs.work(lambda: review.compile_policy(record.document))


def _linked(flip: Flip) -> LinkedFlip:
    link = url(flip.run)
    return LinkedFlip(**dict(flip), link=link, receipts=f"{link}/receipts?after={flip.seq - 1}")
