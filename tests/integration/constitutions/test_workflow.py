"""The workflow itself: who may start it, what it waits for, how long, and that its history replays."""

import datetime as dt
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from chaos import query_rows
from constitution_changes import ConstitutionChanges
from constitutions import key_ring
from decisions import attest_proposal
from platforms import Platform
from temporalio.client import Client, WorkflowFailureError
from temporalio.worker import Replayer

from capsules.constitutions.proposal import STEPS, Change, Proposal, ProposalView, Vote, VoteResult
from capsules.digest import digest
from capsules.identity.authority import Authority
from somagent.db.database import Database, open_database
from somagent.identity.keys import KeyRing
from somagent.identity.tokens import Attestation, Tokens
from somagent.local_stack.bootstrap import sign_constitution
from somagent.temporal.client import PURE_PACKAGES, connect, somagent_plugin
from workflows.authority_interceptor import PLATFORM_WORKFLOWS, AuthorityInterceptor


@pytest.fixture(scope="session")
async def temporal(stack: Platform) -> Client:
    return await connect(stack.settings, KeyRing.load(stack.settings.keys_dir))


@pytest.fixture
async def app(stack: Platform) -> AsyncIterator[Database]:
    async with open_database(stack.settings.database("app"), keys=key_ring(stack.settings)) as db:
        yield db


async def add_proposal(
    app: Database, changes: ConstitutionChanges, *, by: str = "operator", quorum: int = 1
) -> Proposal:
    """Install a signed version and enter its proposal, as the API does before it starts the workflow."""
    record = sign_constitution(changes.keyring, await changes.next())
    await app.constitutions.install(record)
    change = Change(constitution=record.digest, scope="*", narrows=False)
    id_ = uuid.uuid4().hex
    async with app.transaction("local") as tx:
        until = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
        token = attest_proposal(app, "local", id_, change, by=by, quorum=quorum)
        request = digest({"id": id_})
        await tx.proposals.enter(id_, change, request=request, by=by, quorum=quorum, expires_at=until, token=token)
    return Proposal(
        tenant="local", id=id_, change=change, proposed_by=by, expires_seconds=60, quorum=quorum, token=token
    )


def attested(tokens: Tokens, proposal: Proposal, *, by: Tokens | None = None, **claims: Any) -> Proposal:
    """Return the proposal with the platform's authority, and with an attestation by the keys of `by`."""
    said: dict[str, Any] = {
        "tenant": proposal.tenant,
        "subject": proposal.proposed_by,
        "capabilities": {"constitution:propose"},
        "purpose": "propose_constitution",
        "run": _id(proposal),
        "action": proposal.change.digest(),
        "record": proposal.id,
        "terms": {"change": proposal.change.model_dump(mode="json"), "quorum": proposal.quorum},
    }
    token = (by or tokens).mint_attestation(Attestation.model_validate(said | claims))
    authority = Authority(
        kind="platform",
        tenant=proposal.tenant,
        actor=proposal.proposed_by,
        run=_id(proposal),
        workflow_type="ActivateConstitution",
        kinds=STEPS,
        account="",
        expires_at=int(time.time()) + 600,
    )
    return proposal.model_copy(update={"token": token, "authority": tokens.mint_authority(authority)})


def _id(proposal: Proposal) -> str:
    return f"{proposal.tenant}/_constitution/{proposal.id}"


async def _ended(temporal: Client, proposal: Proposal) -> ProposalView:
    view: ProposalView = await temporal.execute_workflow(
        "ActivateConstitution", proposal, id=_id(proposal), task_queue="platform", result_type=ProposalView
    )
    return view


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"run": "local/_constitution/another"}, "run 'local/_constitution/another'"),
        ({"tenant": "elsewhere"}, "tenant 'elsewhere'"),
        ({"action": digest("another change")}, f"action '{digest('another change')}'"),
        ({"purpose": "approve_constitution"}, "purpose 'approve_constitution'"),
        ({"subject": "somebody"}, "'somebody''s"),
        ({"capabilities": {"policy:read"}}, "lacks the capability 'constitution:propose'"),
    ],
)
async def test_who_can_start_workflows_but_holds_no_fitting_token_changes_nothing(
    *, temporal: Client, app: Database, changes: ConstitutionChanges, tokens: Tokens, claims: dict[str, Any], why: str
) -> None:
    before = await changes.active()
    view = await _ended(temporal, attested(tokens, await add_proposal(app, changes), **claims))
    assert (view.state, why in view.why) == ("refused", True), view.why
    assert await changes.active() == before


async def test_a_forged_token_and_a_tenant_that_is_not_the_platforms_change_nothing(
    *, temporal: Client, app: Database, changes: ConstitutionChanges, tokens: Tokens, tenant, tmp_path
) -> None:
    proposal = await add_proposal(app, changes)
    forger = Tokens(KeyRing.create_missing(tmp_path / "keys"))
    assert (await _ended(temporal, attested(tokens, proposal, by=forger))).state == "refused"
    theirs = proposal.model_copy(update={"tenant": tenant.name})
    view = await _ended(temporal, attested(tokens, theirs))
    assert "may only narrow its own constitution" in view.why


async def test_a_workflow_without_the_platforms_authority_takes_no_step(
    temporal: Client, app: Database, changes: ConstitutionChanges, tokens: Tokens, tmp_path
) -> None:
    before = await changes.active()
    forger = Tokens(KeyRing.create_missing(tmp_path / "keys"))
    for number in range(2):
        proposal = await add_proposal(app, changes)
        started = attested(tokens, proposal)
        forged = attested(forger, proposal, by=tokens)
        given = forged if number else started.model_copy(update={"authority": ""})
        with pytest.raises(WorkflowFailureError):
            await _ended(temporal, given)
        assert (await changes.activation(proposal.id))["state"] == "examining"
    assert await changes.active() == before


async def test_a_vote_without_a_valid_token_counts_for_nothing(
    temporal: Client, app: Database, changes: ConstitutionChanges, tokens: Tokens
) -> None:
    proposal = attested(tokens, await add_proposal(app, changes))
    handle = await temporal.start_workflow(
        "ActivateConstitution", proposal, id=_id(proposal), task_queue="platform", result_type=ProposalView
    )
    await changes.until({"id": proposal.id}, "awaiting_approval")
    change = proposal.change.digest()
    said: dict[str, Any] = {
        "tenant": "local",
        "subject": "approver",
        "capabilities": {"constitution:approve"},
        "purpose": "approve_constitution",
        "run": _id(proposal),
        "action": change,
        "record": proposal.id,
    }
    for claims, why in (
        ({"subject": "operator"}, "Separation of duties"),
        ({"capabilities": {"approval:decide"}}, "lacks the capability 'constitution:approve'"),
        ({"purpose": "reject_constitution"}, "purpose 'reject_constitution'"),
        ({"run": "local/_constitution/other"}, "run 'local/_constitution/other'"),
    ):
        token = tokens.mint_attestation(Attestation.model_validate(said | claims))
        heard = await handle.execute_update("approve", Vote(change=change, token=token), result_type=VoteResult)
        assert why in (heard.problem or ""), heard
    waiting = await changes.activation(proposal.id)
    assert (waiting["state"], waiting["approved_by"]) == ("awaiting_approval", [])
    [told] = await query_rows(
        changes.stack.settings,
        "SELECT data->>'proposed_by' AS by FROM outbox WHERE type = 'constitution.proposed' AND data->>'activation' = $1",
        proposal.id,
    )
    assert told["by"] == "operator"
    token = tokens.mint_attestation(Attestation.model_validate(said | {"purpose": "reject_constitution"}))
    await handle.execute_update("reject", Vote(change=change, token=token), result_type=VoteResult)
    assert (await handle.result()).state == "rejected"


async def test_where_two_must_agree_one_person_twice_is_one(
    temporal: Client, app: Database, changes: ConstitutionChanges, tokens: Tokens
) -> None:
    proposal = attested(tokens, await add_proposal(app, changes, quorum=2))
    handle = await temporal.start_workflow(
        "ActivateConstitution", proposal, id=_id(proposal), task_queue="platform", result_type=ProposalView
    )
    await changes.until({"id": proposal.id}, "awaiting_approval")
    change = proposal.change.digest()
    heard = []
    for who in ("ada", "ada", "bob"):
        said: dict[str, Any] = {
            "tenant": "local",
            "subject": who,
            "capabilities": {"constitution:approve"},
            "purpose": "approve_constitution",
            "run": _id(proposal),
            "action": change,
            "record": proposal.id,
        }
        vote = Vote(change=change, token=tokens.mint_attestation(Attestation.model_validate(said)))
        heard.append(await handle.execute_update("approve", vote, result_type=VoteResult))
    assert [(h.state, h.missing) for h in heard] == [
        ("awaiting_approval", 1),
        ("awaiting_approval", 1),
        ("approved", 0),
    ]
    ended = await handle.result()
    assert (ended.state, ended.approved_by) == ("activated", ("ada", "bob"))


async def test_a_start_that_says_nobody_need_agree_changes_nothing(
    temporal: Client, app: Database, changes: ConstitutionChanges, tokens: Tokens
) -> None:
    before = await changes.active()
    proposal = (await add_proposal(app, changes)).model_copy(update={"quorum": 0})
    view = await _ended(temporal, attested(tokens, proposal))
    assert (view.state, "only an approved one is activated" in view.why) == ("refused", True), view.why
    assert await changes.active() == before


async def test_a_proposal_that_nobody_answers_expires(
    temporal: Client, app: Database, changes: ConstitutionChanges, tokens: Tokens
) -> None:
    proposal = (await add_proposal(app, changes)).model_copy(update={"expires_seconds": 1})
    view = await _ended(temporal, attested(tokens, proposal))
    assert (view.state, view.missing) == ("expired", 0)
    assert "1 approvals were missing" in (await changes.activation(proposal.id))["why"]


@pytest.mark.parametrize("pass_through", [PURE_PACKAGES, ()], ids=["production", "strict"])
async def test_its_history_replays(
    temporal: Client, changes: ConstitutionChanges, pass_through: tuple[str, ...]
) -> None:
    done = await changes.activate(await changes.next())
    history = await temporal.get_workflow_handle(f"local/_constitution/{done['id']}").fetch_history()
    replayer = Replayer(
        workflows=list(PLATFORM_WORKFLOWS),
        interceptors=[AuthorityInterceptor()],
        plugins=[somagent_plugin(changes.keyring, pass_through=pass_through)],
        namespace=temporal.namespace,
    )
    assert (await replayer.replay_workflow(history)).replay_failure is None
    headers = [
        dict(event.activity_task_scheduled_event_attributes.header.fields)
        for event in history.events
        if event.HasField("activity_task_scheduled_event_attributes")
    ]
    assert headers
    assert all("somagent-authority" in fields for fields in headers)
