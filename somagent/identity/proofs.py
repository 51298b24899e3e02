"""Proofs: what the recorded attestations of an approval, grant, delegation, raise or activation prove.

The database's rows say what people decided; only the attestations prove it. Each process verifies them with the
issuer's public keys before a decision counts, and takes people, capabilities and terms from the attestations alone.
"""

import contextlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ConfigDict, Field

from capsules.actions.ledger_messages import BeginEffect
from capsules.approvals.approval import Answer, missing_demands
from capsules.base_model import FrozenModel
from capsules.budgets.amounts import Amounts
from capsules.constitutions.proposal import Change
from capsules.digest import Digest, sha256
from capsules.errors import AuthorityRefused, ConstitutionRefused, Denied, SomaError
from somagent.identity.tokens import Attestation, Tokens

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class RecordedAttestation(FrozenModel):
    """The token of a decision, with the time at which the database recorded it."""

    token: str
    used_at: datetime

    @property
    def digest(self) -> Digest:
        return sha256(self.token.encode())


class ApprovalProof(FrozenModel):
    """The attestations of an approval that may allow an action."""

    id: str
    edited_from: str | None = None
    used_at: datetime | None = Field(None, description="When an earlier attempt of the effect used it.")
    attestations: tuple[RecordedAttestation, ...] = ()


class GrantRow(FrozenModel):
    """The columns of a standing grant that its attestation must give."""

    model_config = ConfigDict(extra="ignore")

    id: str
    scope: str
    capability: str
    reason: str
    constitution: Digest
    granted_by: str
    uses: int
    expires_at: datetime

    def terms(self) -> dict[str, Any]:
        """Return what the granter attests."""
        return self.model_dump(exclude={"id", "granted_by", "expires_at"}) | {
            "expires_at": microseconds(self.expires_at)
        }


class GrantProof(FrozenModel):
    """A standing grant that may allow an action: its row as the database wrote it, and its attestations."""

    row: dict[str, Any]
    attestations: tuple[RecordedAttestation, ...] = ()


class RaiseProof(FrozenModel):
    """A raise of a run's limit, with its attestations."""

    key: str
    by: str
    amounts: Amounts
    attestations: tuple[RecordedAttestation, ...] = ()


class DelegationProof(FrozenModel):
    """A delegation with its attestations."""

    model_config = ConfigDict(extra="ignore")

    id: str
    capability: str
    delegator: str
    delegate: str
    reason: str
    starts_at: datetime
    ends_at: datetime
    attestations: tuple[RecordedAttestation, ...] = ()

    def terms(self) -> dict[str, Any]:
        """Return what the delegator attests."""
        times = {"starts_at": microseconds(self.starts_at), "ends_at": microseconds(self.ends_at)}
        return self.model_dump(include={"capability", "delegate", "reason"}) | times


class ActivationProof(FrozenModel):
    """An activation of a constitution with the attestations of its proposer and its voters."""

    model_config = ConfigDict(extra="ignore")

    id: int
    scope: str
    stage: str
    digest: Digest | None
    reason: str
    by: str
    proposal: str | None = None
    proof: tuple[RecordedAttestation, ...] = ()
    legacy: bool = Field(False, description="Made before attestations were recorded.")


def microseconds(moment: datetime) -> int:
    """Return a time as whole microseconds since 1970, as terms have it."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def approving_answers(tokens: Tokens, request: BeginEffect, proof: ApprovalProof) -> tuple[Answer, ...]:
    """Return the yeses that allow the action. Raises AuthorityRefused or Denied when they are not proved or too few."""
    answers: list[Answer] = []
    names = {request.actor}
    for attested, recorded in _verified(tokens, proof.attestations):
        attested.require(tenant=request.key.tenant, run=request.key.run)
        answer = _answer(request, proof, attested, recorded)
        people = {attested.subject, attested.on_behalf_of} - {None}
        if people & names:
            raise Denied(f"{', '.join(sorted(map(str, people & names)))} cannot approve it, or approved it already.")
        names |= {str(name) for name in people}
        answers.append(answer)
    if lacking := missing_demands(request.verdict.demands, answers):
        wanted = ", ".join(f"{demand.quorum} with {demand.capability!r}" for demand in lacking)
        raise Denied(f"Attestations of {wanted} are missing.")
    return tuple(answers)


def _answer(request: BeginEffect, proof: ApprovalProof, attested: Attestation, recorded: RecordedAttestation) -> Answer:
    """Return the yes of an attestation about an approval. Raises Denied when it is no yes to this action."""
    capabilities = attested.capabilities
    if attested.purpose == "approve":
        attested.require(approval=proof.id, action=request.action_digest)
    elif attested.purpose == "edit" and proof.edited_from is not None:
        attested.require(approval=proof.edited_from, target=request.action.target, arguments=request.call_arguments)
        # The yes of an editor counts for one demand.
        own = [d.capability for d in request.verdict.demands if d.capability in capabilities]
        capabilities = frozenset(own[:1])
    else:
        raise Denied(f"{attested.subject!r} said {attested.purpose!r}.")
    if attested.until is not None and attested.until < (proof.used_at or datetime.now(UTC)).timestamp():
        raise Denied(f"The approval of {attested.subject!r} has expired.")
    later = {step.capability for step in request.verdict.escalation}
    return Answer(
        by=attested.subject,
        said="yes",
        on_behalf_of=attested.on_behalf_of,
        capabilities=tuple(sorted(capabilities)),
        escalated=attested.purpose == "approve" and attested.escalated and not later.isdisjoint(capabilities),
        attestation=recorded.digest,
        at=recorded.used_at,
    )


def check_grant(tokens: Tokens, tenant: str, proof: GrantProof) -> None:
    """Raise AuthorityRefused or Denied unless the granter attested this grant with these terms."""
    row = GrantRow.model_validate(proof.row)
    _require_terms(
        tokens,
        proof.attestations,
        tenant=tenant,
        subject=row.granted_by,
        purpose="grant",
        record=row.id,
        terms=row.terms(),
        capability=row.capability,
    )


def check_delegation(tokens: Tokens, tenant: str, proof: DelegationProof) -> None:
    """Raise AuthorityRefused or Denied unless the delegator attested this delegation with these terms."""
    _require_terms(
        tokens,
        proof.attestations,
        tenant=tenant,
        subject=proof.delegator,
        purpose="delegate",
        record=proof.id,
        terms=proof.terms(),
        capability=proof.capability,
    )


def check_raise(tokens: Tokens, tenant: str, run: str, proof: RaiseProof) -> None:
    """Raise AuthorityRefused or Denied unless a person attested this raise of the run's limit."""
    _require_terms(
        tokens,
        proof.attestations,
        tenant=tenant,
        run=run,
        subject=proof.by,
        purpose="raise_budget",
        record=proof.key,
        amounts=proof.amounts,
        capability="budget:raise",
    )


def check_activation(tokens: Tokens, row: ActivationProof) -> None:
    """Raise ConstitutionRefused unless people attested the proposal and enough votes, or the owner the first start."""
    try:
        if not row.legacy:
            _check_activation(tokens, row)
    except SomaError as error:
        raise ConstitutionRefused(
            f"Constitution {row.digest or 'none'} was made active for {row.scope!r} without proof that people decided "
            f"it (activation {row.id}): {error.message} Nothing runs under it. Propose the right one and approve it.",
            digest=row.digest,
        ) from error


def _check_activation(tokens: Tokens, row: ActivationProof) -> None:
    attested = [attested for attested, _ in _verified(tokens, row.proof)]
    first = [one for one in attested if one.purpose == "activate_constitution"]
    if row.proposal is None and first:
        first[0].require(record=row.digest, subject=row.by)
        first[0].require(terms={"scope": row.scope, "stage": row.stage, "reason": row.reason})
        return
    proposed = next((one for one in attested if one.purpose == "propose_constitution"), None)
    if proposed is None or row.proposal is None:
        raise Denied("It has no proposal's attestation.")
    proposed.require(record=row.proposal, subject=row.by)
    proposed.require_capability("constitution:propose")
    change = Change.model_validate(proposed.terms["change"])
    proposed.require(action=change.digest())
    allowed = {(change.constitution, change.scope), (None, change.clears)}
    if (row.digest, row.scope) not in allowed or (row.stage, row.reason) != (change.stage, change.reason):
        raise Denied("The proposal was for another change.")
    voters = set()
    for one in attested:
        if one.purpose == "propose_constitution":
            continue
        one.require(tenant=proposed.tenant, run=proposed.run, action=proposed.action, purpose="approve_constitution")
        one.require_capability("constitution:approve")
        voters.add(one.subject)
    if len(voters - {proposed.subject}) < int(proposed.terms["quorum"]):
        raise Denied(f"{len(voters)} of {proposed.terms['quorum']} approvals are attested.")


def _require_terms(
    tokens: Tokens, attestations: Sequence[RecordedAttestation], *, capability: str, **claims: object
) -> None:
    """Raise the last refusal unless one of the attestations has all these claims."""
    refusal: SomaError = AuthorityRefused("It has no valid attestation.")
    for attested, _ in _verified(tokens, attestations):
        try:
            attested.require(**claims)
            attested.require_capability(capability)
        except Denied as error:
            refusal = error
        else:
            return
    raise refusal


def _verified(
    tokens: Tokens, attestations: Iterable[RecordedAttestation]
) -> list[tuple[Attestation, RecordedAttestation]]:
    """Return the attestations that our issuer signed. A forged one proves nothing, and hinders no genuine one."""
    found = []
    for recorded in attestations:
        with contextlib.suppress(AuthorityRefused):
            found.append((tokens.verify_recorded(recorded.token, recorded.used_at), recorded))
    return found
