"""Work of the policy routes: check, prove, compare, dry-run, explain and backtest constitutions."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

from api.access import require_capability
from api.deps import State
from api.resources.constitutions.service import find_visible, invalid_not_refused
from api.resources.policy import schemas
from api.resources.runs.preflight import actions_of
from api.resources.runs.service import find_capsule
from api.run_urls import require_own
from capsules.constitutions import proof
from capsules.digest import Digest
from capsules.errors import NotFound
from capsules.identity.principal import Principal
from capsules.names import parse_reference
from capsules.runs.url import run_path
from policy.prove import review
from policy.prove.comparison import backtest as evaluate_again
from policy.prove.comparison import compare as compare_policies
from somagent.capsule_files.document import read as read_file

TOTAL_PROOF_SECONDS = 60.0
BATCH_SECONDS = 60.0
"""How long a thread waits for the next receipts: it must not wait for an event loop that has ended."""


async def _document_of(state: State, caller: Principal, subject: schemas.ConstitutionChoice) -> dict[str, Any]:
    """Return the document of a constitution. Raises NotFound for one that the caller's tenant may not see."""
    if isinstance(subject, dict):
        return subject
    if subject == "active":
        return (await state.db.constitutions.active(caller.tenant)).document
    return (await find_visible(state, caller, Digest(subject))).document


async def _prove[R](state: State, work: Callable[[], R]) -> R:
    """Return the result of work on a caller's documents in the proof pool. Raises Invalid and Unavailable."""
    with invalid_not_refused():
        return await state.proofs.work(work)


async def check(state: State, caller: Principal, text: str, *, filename: str) -> proof.CheckedConstitution:
    """Check the text of a constitution, or of an overlay on the active one. Raises Invalid with every problem."""
    document = read_file(text, filename=filename).value
    overlays = [document] if document.get("kind") == "Overlay" else []
    base = await _document_of(state, caller, "active") if overlays else document

    def work() -> proof.CheckedConstitution:
        candidate, metadata = review.load_candidate(base, overlays), document["metadata"]
        kind, name, version = str(document["kind"]), str(metadata["name"]), str(metadata["version"])
        return review.summarize(candidate, kind=kind, name=name, version=version)

    return await _prove(state, work)


async def prove(state: State, caller: Principal, body: schemas.ProofRequest) -> proof.Review:
    """Prove a constitution. Raises Invalid, NotFound or Unavailable."""
    document = await _document_of(state, caller, body.constitution)
    return await _prove(
        state,
        lambda: review.review(
            review.load_candidate(document, body.overlays), seconds=body.seconds, total=TOTAL_PROOF_SECONDS
        ),
    )


async def compare(state: State, caller: Principal, body: schemas.ComparisonRequest) -> proof.Difference:
    """Compare two constitutions. Raises Invalid, NotFound or Unavailable."""
    old = await _document_of(state, caller, body.old)
    new = await _document_of(state, caller, body.new)

    def work() -> proof.Difference:
        before, after = review.load_candidate(old), review.load_candidate(new, body.overlays)
        return compare_policies(before.policy, after.policy, seconds=body.seconds)

    return await _prove(state, work)


async def dry_run(state: State, caller: Principal, body: schemas.DryRunRequest) -> schemas.DryRunResponse:
    """Evaluate an action, or each action that a capsule declares. Raises NotFound for an unknown capsule."""
    active = await state.db.constitutions.active(caller.tenant)
    policy = await state.policies.get(active.digest)
    facts = body.facts.of(caller)
    if body.action is not None:
        actions = [body.action.as_action()]
    else:
        actions = actions_of(await find_capsule(state, caller, parse_reference(body.capsule or "")), state.library)
    verdicts = []
    for action in actions:
        verdict = policy.evaluate(action, facts)
        explanation = None if verdict.decision == "allow" else await state.explanations.of(policy, action, facts)
        verdicts.append(schemas.DryRunVerdict(action=action, verdict=verdict, explanation=explanation))
    return schemas.DryRunResponse(constitution=active.digest, judged=tuple(verdicts))


async def explain(state: State, caller: Principal, body: schemas.ExplanationRequest) -> proof.Explanation:
    """Explain a hypothetical action or a recorded decision. Raises Denied, Invalid or NotFound."""
    if body.action is not None:
        document = await _document_of(state, caller, body.constitution)
        with invalid_not_refused():
            return await state.explanations.of_document(document, body.action.as_action(), body.facts.of(caller))
    require_capability(caller, "run:read")
    decision = await _recorded_decision(state, caller, body)
    # A recorded decision is explained by its own constitution, even a revoked one: an explanation decides nothing.
    document = (await state.db.constitutions.get(decision.verdict.constitution)).document
    policy = await state.proofs.work(lambda: review.compile_policy(document))
    return await state.explanations.of(policy, decision.action, decision.facts)


async def backtest(state: State, caller: Principal, body: schemas.BacktestRequest) -> schemas.BacktestResponse:
    """Evaluate recorded actions under the candidate. Raises Denied, Invalid, NotFound or Unavailable.

    The evaluation runs in a thread of the proof pool and takes batches of receipts from the event loop.
    """
    require_capability(caller, "run:read")
    document = await _document_of(state, caller, body.candidate)
    loop, skipped = asyncio.get_running_loop(), 0
    async with state.db.transaction(caller.tenant) as tx:
        batches = aiter(tx.decision_log.batches(newest=body.runs, since=body.since))

        async def next_batch() -> list[proof.RecordedDecision | None] | None:
            return await anext(batches, None)

        def recorded() -> Iterator[proof.RecordedDecision]:
            nonlocal skipped
            while (batch := asyncio.run_coroutine_threadsafe(next_batch(), loop).result(BATCH_SECONDS)) is not None:
                skipped += batch.count(None)
                yield from (one for one in batch if one is not None)

        def evaluate() -> proof.Backtest:
            return evaluate_again(review.load_candidate(document, body.overlays).policy, recorded())

        result = await _prove(state, evaluate)
    return schemas.BacktestResponse(**dict(result) | {"skipped": skipped, "flips": tuple(map(_link, result.flips))})


async def _recorded_decision(
    state: State, caller: Principal, body: schemas.ExplanationRequest
) -> proof.RecordedDecision:
    async with state.db.transaction(caller.tenant) as tx:
        if body.run is not None and body.seq is not None:
            return await tx.decision_log.decision(require_own(body.run, caller), body.seq)
        approval = await tx.approvals.get(str(body.approval))
        decision = await tx.decision_log.for_approval(approval.run, approval.id)
    if decision is None:
        raise NotFound(f"The receipts of run {approval.run!r} have no decision for the approval {approval.id!r}.")
    return decision


def _link(flip: proof.Flip) -> schemas.LinkedFlip:
    link = run_path(flip.run)
    return schemas.LinkedFlip(**dict(flip), link=link, receipts=f"{link}/receipts?after={flip.seq - 1}")
