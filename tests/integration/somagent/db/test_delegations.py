"""Delegations: lent for a time, used for approvals in the owner's name, and never as a way round the duties."""

import datetime as dt
from pathlib import Path

import decisions
import pytest
from ledger_messages import begin_effect, key, run_id
from sqlalchemy import text

from capsules.actions.verdict import Demand
from capsules.approvals.approval import ApprovalDecision
from capsules.approvals.delegation import DelegationRequest
from capsules.errors import Denied, Invalid, NotFound
from capsules.identity.principal import Principal
from somagent.db.database import Database
from somagent.db.gate.approvals import PostgresApprovalDecisions
from somagent.db.gate.ledger import PostgresLedger
from somagent.identity.keys import KeyRing
from somagent.identity.tokens import Attestation, Tokens

DECIDES = "approval:decide"


@pytest.fixture(scope="module")
def tokens(tmp_path_factory) -> Tokens:
    directory: Path = tmp_path_factory.mktemp("keys")
    KeyRing.create_missing(directory)
    return Tokens(KeyRing.load(directory))


@pytest.fixture
async def people(db: Database, tenant: str) -> str:
    """A tenant with: ada, who asks; grace and hedy, who decide; ben and cem, who hold nothing."""
    held = {"ada": {DECIDES}, "grace": {DECIDES}, "hedy": {DECIDES}, "ben": set(), "cem": set()}
    async with db.transaction(tenant) as tx:
        for subject, capabilities in held.items():
            await tx.principals.add(Principal(tenant=tenant, subject=subject, capabilities=frozenset(capabilities)))
    return tenant


async def lend(db: Database, tenant: str, by: str, to: str, *, seconds: int = 600, starts=None):
    request = DelegationRequest(capability=DECIDES, to=to, seconds=seconds, starts_at=starts)
    return await decisions.lend(db, tenant, request, by=by)


async def ask(db: Database, tenant: str, **verdict):
    return (
        await PostgresLedger(db).begin(begin_effect(key(tenant, run_id(tenant)), decision="ask", **verdict))
    ).approval


async def decide(  # noqa: PLR0917 - who says what, for whom
    db, tokens, tenant, asked, by: str, owner: str | None, *, held=frozenset(), approve: bool = True
):
    claims = Attestation(
        tenant=tenant,
        subject=by,
        capabilities=held if owner is None else frozenset({DECIDES}),
        purpose="approve" if approve else "deny",
        run=asked.run,
        approval=asked.id,
        action=asked.action,
        on_behalf_of=owner,
    )
    decision = ApprovalDecision(approval=asked.id, action=asked.action, token=tokens.mint_attestation(claims))
    return await PostgresApprovalDecisions(db, tokens).decide(asked.run, tenant, decision, approve=approve)


async def test_a_delegate_decides_in_the_owners_name_and_both_are_recorded(db, people, tokens):
    await lend(db, people, "grace", "ben")
    asked = await ask(db, people)
    for _ in range(2):  # a retry changes nothing
        made = await decide(db, tokens, people, asked, "ben", "grace")
        assert (made.problem, made.state, made.decided_by) == (None, "approved", "ben")
    async with db.transaction(people) as tx:
        [answer] = (await tx.approvals.get(asked.id)).answers
        assert [e.type for e in await tx.events.after(asked.run)][-1] == "approval.decided"
    assert (answer.by, answer.on_behalf_of, answer.capabilities) == ("ben", "grace", (DECIDES,))


async def test_without_the_owners_name_what_was_lent_is_not_used(db, people, tokens):
    await lend(db, people, "grace", "ben")
    made = await decide(db, tokens, people, await ask(db, people), "ben", None)
    assert "lacks the capability" in made.problem


async def test_the_requesters_own_right_cannot_be_lent_to_approve_their_action(db, people, tokens):
    await lend(db, people, "ada", "ben")
    await lend(db, people, "grace", "ada")
    asked = await ask(db, people)
    assert "'ada', represented by 'ben', asked" in (await decide(db, tokens, people, asked, "ben", "ada")).problem
    assert "Separation of duties" in (await decide(db, tokens, people, asked, "ada", "grace")).problem


async def test_nothing_is_lent_on(db, people, tokens):
    await lend(db, people, "grace", "ben")
    with pytest.raises(Denied, match="'ben' does not hold"):
        await lend(db, people, "ben", "cem")
    made = await decide(db, tokens, people, await ask(db, people), "cem", "ben")
    assert "has lent 'cem' nothing" in made.problem


async def test_what_its_owner_has_lost_is_worth_nothing(db, people, tokens):
    await lend(db, people, "grace", "ben")
    async with db.transaction(people) as tx:
        await tx.principals.add(Principal(tenant=people, subject="grace", capabilities=frozenset({"run:read"})))
    asked = await ask(db, people)
    assert "nothing that they hold now" in (await decide(db, tokens, people, asked, "ben", "grace")).problem


async def test_it_holds_from_its_beginning_to_its_end_and_until_it_is_revoked(db, people, tokens):
    now = dt.datetime.now(dt.UTC)
    asked = await ask(db, people)
    coming = await lend(db, people, "grace", "ben", starts=now + dt.timedelta(hours=1))
    # Over in a second: long enough to be written on a busy machine, where 0.1 s was not.
    starts = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=59)
    ended = await lend(db, people, "grace", "ben", seconds=60, starts=starts)
    assert coming.state == "coming"
    async with db.transaction(people) as tx:
        await tx.connection.execute(text("SELECT pg_sleep(1.1)"))
        assert (await tx.delegations.lent_capabilities("ben", dt.datetime.now(dt.UTC))) == {}
    async with db.transaction(people) as tx:
        assert (await tx.delegations.get(ended.id)).state == "ended"
        assert (await tx.delegations.lent_capabilities("ben", now + dt.timedelta(hours=1.1))) == {"grace": {DECIDES}}
        for by in ("grace", "hedy"):
            token = decisions.attest(db, people, "revoke_delegation", by, record=coming.id)
            revoked = await tx.delegations.revoke(coming.id, by=by, token=token, now=now)
            assert (revoked.state, revoked.revoked_by) == ("revoked", "grace")
        assert (await tx.delegations.lent_capabilities("ben", now + dt.timedelta(hours=1.1))) == {}
    assert (await decide(db, tokens, people, asked, "ben", "grace")).problem


async def test_one_right_counts_once_whoever_uses_it(db, people, tokens):
    for to in ("ben", "cem"):
        await lend(db, people, "grace", to)
    asked = await ask(db, people, demands=(Demand(quorum=2),))
    assert (await decide(db, tokens, people, asked, "ben", "grace")).state == "pending"
    again = await decide(db, tokens, people, asked, "cem", "grace")
    assert again.problem == "'grace' approved already through 'ben'; different people must."
    own = await decide(db, tokens, people, asked, "grace", None, held=frozenset({DECIDES}))
    assert "approved already through 'ben'" in own.problem
    assert (await decide(db, tokens, people, asked, "hedy", None, held=frozenset({DECIDES}))).state == "approved"


async def test_it_goes_to_another_known_principal_for_a_time_that_is_not_over(db, people):
    with pytest.raises(Invalid, match="to themselves"):
        await lend(db, people, "grace", "grace")
    with pytest.raises(NotFound, match="no principal 'zoe'"):
        await lend(db, people, "grace", "zoe")
    with pytest.raises(Invalid, match="over before it begins"):
        await lend(db, people, "grace", "ben", starts=dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
    with pytest.raises(Invalid, match="no time zone"):
        await lend(db, people, "grace", "ben", starts=dt.datetime(2030, 1, 1))  # noqa: DTZ001 - that is the point


async def test_a_delegation_is_never_changed(db, owner, people):
    given = await lend(db, people, "grace", "ben")
    with pytest.raises(Exception, match="permission denied"):
        async with db.transaction(people) as tx:
            await tx.connection.execute(text("UPDATE delegations SET ends_at = ends_at + interval '1 year'"))
    async with db.transaction(people) as tx:
        token = decisions.attest(db, people, "revoke_delegation", record=given.id)
        await tx.delegations.revoke(given.id, by="grace", token=token, now=dt.datetime.now(dt.UTC))
    for change in ("ends_at = now()", "revoked_at = NULL, revoked_by = NULL", "revoked_by = 'x'"):
        with pytest.raises(Exception, match="never changed"):
            async with owner.transaction(people) as tx:
                await tx.connection.execute(text(f"UPDATE delegations SET {change}"))


async def test_who_could_decide_is_told_by_name(db, people):
    await lend(db, people, "grace", "ben")
    for owner in ("ada", "hedy"):
        await lend(db, people, owner, "cem")
    asked = await ask(db, people, demands=(Demand(quorum=2),))
    async with db.transaction(people) as tx:
        await tx.principals.add(Principal(tenant=people, subject="hedy", capabilities=frozenset({"run:read"})))
        now = dt.datetime.now(dt.UTC)
        deciders = await tx.eligible_approvers.of(await tx.approvals.get(asked.id), now)
        nobody = await tx.eligible_approvers.of((await tx.approvals.expire(asked.id)), now)
    assert [(d.subject, d.on_behalf_of) for d in deciders] == [("grace", None), ("ben", "grace")]
    assert nobody == ()
