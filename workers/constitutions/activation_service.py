"""Activation service: performs the steps of an activation (`ConstitutionSteps`) with database, keys and prover.

A step that finds a reason against the change records it. Only `activate` changes the active constitution, for a
proposal with enough approvals.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from capsules.constitutions.constitution import ConstitutionRecord
from capsules.constitutions.proof import Proof, ProofReport
from capsules.constitutions.proposal import (
    EVERYBODY,
    ActivationRecord,
    ActivationStep,
    CastVote,
    Change,
    Conclusion,
    Examination,
    Findings,
    MirrorResult,
    Proposal,
    VoteResult,
)
from capsules.digest import Digest
from capsules.errors import Conflict, ConstitutionRefused, Denied, NotFound, SomaError
from capsules.names import version_key
from policy.decide.constitution_cache import compile_record
from policy.decide.engine import Policy
from policy.language.constitution import parse
from policy.prove.comparison import compare
from policy.prove.overlay import prove_narrower
from policy.prove.proofs import prove
from somagent.constitutions.somabrain import SomaBrain
from somagent.db.database import Database
from somagent.identity.signatures import ConstitutionTrust
from somagent.identity.tokens import AttestationPurpose, Tokens
from somagent.settings import Settings

HEARTBEAT_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class ActivationService:
    """The steps with their adapters.

    prover: one thread, because Z3 cannot be shared by threads.
    platform_tenant: the tenant whose principals may change the constitution of all tenants.
    seconds: time limit of each proof, in seconds.
    brain: None when there is no SomaBrain.
    proved: called with each proof, for metrics.
    """

    db: Database
    tokens: Tokens
    trust: ConstitutionTrust
    prover: Executor
    platform_tenant: str
    seconds: float
    brain: SomaBrain | None = None
    proved: Callable[[Proof], None] = lambda _: None

    async def examine(self, run: str, proposal: Proposal) -> Examination:
        change = proposal.change
        attestation = self.tokens.verify_attestation(proposal.token)
        attestation.require(tenant=proposal.tenant, run=run, action=change.digest(), purpose="propose_constitution")
        if attestation.subject != proposal.proposed_by:
            raise Denied(f"The token is {attestation.subject!r}'s, not {proposal.proposed_by!r}'s.")
        attestation.require(record=proposal.id)
        attestation.require_capability("constitution:propose")
        async with self.db.transaction(proposal.tenant) as tx:
            await tx.attestations.use(proposal.token)
        if attestation.tenant != self.platform_tenant and (
            change.scope != attestation.tenant or not change.narrows or change.clears
        ):
            raise Denied(
                f"Tenant {attestation.tenant!r} may only narrow its own constitution. Changing {change.scope!r} is for "
                f"principals of the tenant {self.platform_tenant!r}."
            )
        if change.scope != EVERYBODY and change.scope not in await self.db.tenants.list():
            raise NotFound(f"There is no tenant {change.scope!r}.")
        since = await self.db.constitutions.newest_activation()
        against = await self.db.constitutions.active_digest(change.scope)
        keys: tuple[str, ...] = ()
        if change.constitution is not None:
            record = await self.db.constitutions.get(change.constitution)
            keys = self.trust.keys_of(record)
            compile_record(record, record.digest, self.trust)
            await self._refuse_older_version(change, record, against)
        await self._update(proposal, against=against, since=since, keys=list(keys), state="proving")
        return Examination(against=against, keys=keys)

    async def prove(self, step: ActivationStep, *, alive: Callable[[], None]) -> Findings:
        record = await self._get(step)
        if record.constitution is None:
            return Findings()
        candidate = await self._policy(record.constitution)
        document = parse((await self.db.constitutions.get(record.constitution)).document)
        report: ProofReport = await self._in_prover(
            alive, lambda: prove(document, candidate.digest, seconds=self.seconds)
        )
        for proof in report.proofs:
            self.proved(proof)
        await self._update(step, report=report.model_dump(mode="json"))
        problem = _proofs_problem(report.proofs)
        if problem is None and record.stage == "active":
            problem = await self._narrowing_problem(step, record, candidate, alive)
        if problem is None:
            await self._update(step, state="comparing")
        return Findings(problem=problem)

    async def compare(self, step: ActivationStep, *, alive: Callable[[], None]) -> Findings:
        record = await self._get(step)
        after = record.constitution or await self.db.constitutions.active_digest()
        if record.against is not None and after is not None and after != record.against:
            # The old one is only compared, so it may be revoked.
            old, new = await self._policy(record.against, revoked=True), await self._policy(after)
            found = await self._in_prover(alive, lambda: compare(old, new, seconds=self.seconds))
            await self._update(step, difference=found.model_dump(mode="json"))
        async with self.db.transaction(step.tenant) as tx:
            if record.quorum:
                await tx.proposals.request_approval(step.id)
            else:
                await tx.proposals.update(step.id, state="approved")
        return Findings()

    async def record_vote(self, run: str, cast: CastVote) -> VoteResult:
        purpose: AttestationPurpose = "approve_constitution" if cast.approve else "reject_constitution"
        try:
            attestation = self.tokens.verify_attestation(cast.vote.token)
            attestation.require(tenant=cast.step.tenant, run=run, action=cast.vote.change, purpose=purpose)
            attestation.require(record=cast.step.id)
            async with self.db.transaction(cast.step.tenant) as tx:
                known = await tx.proposals.get(cast.step.id)
                if known.change != cast.vote.change:
                    raise Conflict("The vote is for another change than this one.")
                if cast.approve or attestation.subject != known.proposed_by:
                    attestation.require_capability("constitution:approve")
                known = await tx.proposals.record_vote(
                    cast.step.id,
                    approve=cast.approve,
                    by=attestation.subject,
                    token=cast.vote.token,
                    comment=cast.vote.comment,
                )
        except SomaError as error:
            if error.retryable:
                raise
            return VoteResult(state="awaiting_approval", problem=error.message)
        return VoteResult(state=known.state, approved_by=known.approved_by, missing=known.missing)

    async def activate(self, step: ActivationStep) -> None:
        async with self.db.transaction(step.tenant) as tx:
            await tx.proposals.activate(step.id)

    async def mirror(self, step: ActivationStep, *, alive: Callable[[], None]) -> MirrorResult:
        record = await self._get(step)
        if self.brain is None or (record.scope, record.stage) != (EVERYBODY, "active") or record.constitution is None:
            mirrored = MirrorResult(status="off")
        else:
            document = (await self.db.constitutions.get(record.constitution)).document
            mirrored = await _with_heartbeat(alive, asyncio.ensure_future(self.brain.mirror(document)))
        await self._update(step, somabrain=mirrored.model_dump(mode="json"))
        return mirrored

    async def conclude(self, conclusion: Conclusion) -> None:
        await self._update(conclusion.step, state=conclusion.state, why=conclusion.why)

    async def _refuse_older_version(self, change: Change, record: ConstitutionRecord, against: Digest | None) -> None:
        """Raise ConstitutionRefused when a change would return to a former or an older version in its scope.

        Only a rollback may return, and only to a version that was active.
        """
        if change.stage == "shadow":
            return
        ref = f"{record.name}@{record.version}"
        history = await self.db.constitutions.history(change.scope, stage="active")
        if history and history[0].constitution == record.digest:
            raise ConstitutionRefused(f"The constitution {ref} is active for {change.scope!r} already.")
        was_active = bool(await self.db.constitutions.history(change.scope, stage="active", of=record.digest))
        if change.reason == "rollback":
            if not was_active:
                raise ConstitutionRefused(f"The constitution {ref} was never active for {change.scope!r}; propose it.")
        elif was_active:
            raise ConstitutionRefused(
                f"The constitution {ref} was active for {change.scope!r} before. To have it back, roll back to it."
            )
        elif against is not None:
            _require_newer(change, record, await self.db.constitutions.get(against))

    async def _narrowing_problem(
        self, step: ActivationStep, record: ActivationRecord, candidate: Policy, alive: Callable[[], None]
    ) -> str | None:
        """Return why a tenant's constitution would not be stricter than the one for all tenants."""
        if record.scope == EVERYBODY:
            return await self._tenants_problem(candidate, alive, except_tenant=record.clears)
        base = await self.db.constitutions.active_digest()
        if not record.narrows or base is None:
            return None
        proof = await self._prove_narrower(await self._policy(base), candidate, alive)
        await self._update(step, narrower=proof.model_dump(mode="json"))
        return _proofs_problem((proof,))

    async def _tenants_problem(
        self, candidate: Policy, alive: Callable[[], None], *, except_tenant: str | None
    ) -> str | None:
        """Return which tenant's own constitution would not be stricter than the candidate. A canary may differ."""
        for tenant, line in (await self.db.constitutions.active_by_tenant()).items():
            if tenant == except_tenant or line.reason == "canary" or line.constitution in {None, candidate.digest}:
                continue
            theirs = await self.db.constitutions.get(Digest(str(line.constitution)))
            if theirs.state == "revoked":
                continue
            proof = await self._prove_narrower(candidate, await self._policy(theirs.digest), alive)
            if proof.outcome != "proved":
                return (
                    f"Tenant {tenant!r} has {theirs.name}@{theirs.version} of its own, which would not be within this "
                    f"one: {proof.sentence} Change or revoke it first."
                )
        return None

    async def _prove_narrower(self, base: Policy, candidate: Policy, alive: Callable[[], None]) -> Proof:
        return await self._in_prover(alive, lambda: prove_narrower(base, candidate, seconds=self.seconds))

    async def _policy(self, digest: Digest, *, revoked: bool = False) -> Policy:
        record = await self.db.constitutions.get(digest)
        if revoked:
            return Policy(parse(record.document), digest)
        return compile_record(record, digest, self.trust)

    async def _get(self, step: ActivationStep) -> ActivationRecord:
        async with self.db.transaction(step.tenant) as tx:
            return await tx.proposals.get(step.id)

    async def _update(self, step: ActivationStep | Proposal, **found: Any) -> None:  # noqa: ANN401 - columns
        async with self.db.transaction(step.tenant) as tx:
            await tx.proposals.update(step.id, **found)

    async def _in_prover[R](self, alive: Callable[[], None], work: Callable[[], R]) -> R:
        """Return the result of `work`, done in the prover's thread."""
        return await _with_heartbeat(alive, asyncio.get_running_loop().run_in_executor(self.prover, work))


async def _with_heartbeat[R](alive: Callable[[], None], working: asyncio.Future[R]) -> R:
    """Return the result of the work, with a heartbeat every two seconds."""
    while not (await asyncio.wait({working}, timeout=HEARTBEAT_SECONDS))[0]:
        alive()
    return await working


@asynccontextmanager
async def activation_service(
    settings: Settings, db: Database, tokens: Tokens, trust: ConstitutionTrust, *, proved: Callable[[Proof], None]
) -> AsyncIterator[ActivationService]:
    """Open the prover's thread and, if one is set, the connection to SomaBrain."""
    with ThreadPoolExecutor(1, thread_name_prefix="prover") as prover:
        brain = SomaBrain.at(settings.somabrain_url) if settings.somabrain_url else None
        try:
            yield ActivationService(
                db=db,
                tokens=tokens,
                trust=trust,
                prover=prover,
                platform_tenant=settings.platform_tenant,
                seconds=settings.constitution_proof_seconds,
                brain=brain,
                proved=proved,
            )
        finally:
            if brain is not None:
                await brain.close()


def _require_newer(change: Change, record: ConstitutionRecord, active: ConstitutionRecord) -> None:
    if active.name != record.name or active.digest == record.digest:
        return
    ref, known = f"{record.name}@{record.version}", f"{active.name}@{active.version}"
    if version_key(record.version) < version_key(active.version):
        raise ConstitutionRefused(
            f"The constitution {ref} is older than {known}, which is active. Only a rollback may return to it."
        )
    if record.version == active.version and not change.overlaid:
        raise ConstitutionRefused(f"{known} is active with another content. Give the new one a new version.")


def _proofs_problem(proofs: tuple[Proof, ...]) -> str | None:
    bad = [proof for proof in proofs if proof.outcome != "proved"]
    return " ".join(f"{proof.guarantee} is {proof.outcome}: {proof.sentence}" for proof in bad)[:4000] or None
