"""A rule about the order of a run's actions holds on the real ledger, also when actions race."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from constitutions import activate_document
from policies import action, minimal

from capsules.actions.action import Action
from capsules.actions.ledger_messages import AttemptKey
from capsules.budgets.amounts import Amounts
from capsules.digest import Digest
from capsules.errors import ApprovalRequired
from capsules.identity.authority import Authority
from policy.decide.constitution_cache import ConstitutionCache
from policy.detectors.argument_text import read
from policy.gate import AllowedAttempt, Gate
from somagent.db.database import Database, open_database
from somagent.db.gate.ledger import PostgresLedger
from somagent.identity.keys import KeyRing
from somagent.identity.signatures import ConstitutionTrust
from somagent.identity.tokens import Tokens
from somagent.settings import Settings

TENANT = "sequences"
READ = action(data="confidential", target="python@1.0.0/run")
WRITE = action(egress="allowlist", effect="write", target="shell@1.0.0/run")
RULES = minimal(
    metadata={"name": "sequences", "version": "1.0.0"},
    sequences=[
        {
            "id": "exposure",
            "start": "clean",
            "transitions": [{"from": "clean", "when": "action.data == 'confidential'", "to": "exposed"}],
            "because": "What was read can leave with what is written.",
        }
    ],
    approvals=[
        {
            "id": "exposed-write",
            "ask_when": "sequences.exposure == 'exposed' && action.egress != 'none'",
            "because": "After confidential data was read, a person looks at what goes outside.",
        }
    ],
)


@dataclass
class Rig:
    gate: Gate
    db: Database
    tokens: Tokens
    constitution: Digest

    async def new_run(self) -> str:
        run = f"{TENANT}/asks/{uuid.uuid4().hex}"
        async with self.db.transaction(TENANT) as tx:
            await tx.accounts.carve(f"tenant:{TENANT}", f"run:{run}", Amounts(tool_calls=5))
        return run

    async def enter(self, run: str, asked: Action, name: str) -> AllowedAttempt:
        claims: dict[str, Any] = {
            "kind": "run", "tenant": TENANT, "actor": "tester", "run": run, "capsule": "asks@1.0.0",
            "account": f"run:{run}", "kinds": ["tool.invoke"], "targets": [READ.target, WRITE.target],
            "constitution": self.constitution, "expires_at": int(time.time()) + 600,
        }  # fmt: skip
        token = self.tokens.mint_authority(Authority.model_validate(claims))
        key = AttemptKey(tenant=TENANT, run=run, execution="e", activity=name, attempt=1)
        return await self.gate.enter(token=token, action=asked, key=key, text=lambda: read(name))

    async def decisions(self, run: str) -> list[dict[str, Any]]:
        async with self.db.transaction(TENANT) as tx:
            return [r.body for r in await tx.receipts.list(run) if r.kind == "decision"]


@pytest.fixture(scope="module")
async def rig(migrated: Settings) -> AsyncIterator[Rig]:
    settings = migrated
    keyring = KeyRing.create_missing(settings.keys_dir)
    async with (
        open_database(settings.database("owner"), keys=keyring) as owner,
        open_database(settings.database("app"), keys=keyring) as db,
    ):
        await owner.tenants.add(TENANT)
        async with db.transaction(TENANT) as tx:
            await tx.accounts.ensure(f"tenant:{TENANT}", Amounts(tool_calls=10**6))
        digest = (await activate_document(owner, keyring, RULES, scope=TENANT)).digest
        trust = ConstitutionTrust(settings.keys_dir)
        gate = Gate(
            Tokens(keyring), ConstitutionCache(db.constitutions.get, trust), PostgresLedger(db), clock=time.time
        )
        yield Rig(gate, db, Tokens(keyring), digest)


async def test_a_write_outside_is_free_before_confidential_data_was_read_and_asked_after(rig: Rig) -> None:
    run = await rig.new_run()
    assert (await rig.enter(run, WRITE, "first")).verdict.decision == "allow"
    assert (await rig.enter(run, READ, "second")).verdict.sequences == {"exposure": "exposed"}
    with pytest.raises(ApprovalRequired, match="After confidential data was read"):
        await rig.enter(run, WRITE, "third")
    assert [body["facts"]["sequences"] for body in await rig.decisions(run)] == [
        {}, {"exposure": "clean"}, {"exposure": "exposed"},
    ]  # fmt: skip


async def test_another_run_starts_clean(rig: Rig) -> None:
    await rig.enter(await rig.new_run(), READ, "read")
    assert (await rig.enter(await rig.new_run(), WRITE, "write")).verdict.decision == "allow"


async def test_what_was_asked_and_not_done_moves_nothing(rig: Rig) -> None:
    run = await rig.new_run()
    both = READ.model_copy(update={"egress": "allowlist"})
    await rig.enter(run, READ, "read")
    with pytest.raises(ApprovalRequired):
        await rig.enter(run, both, "both")
    async with rig.db.transaction(TENANT) as tx:
        assert (await tx.runs.get(run)).status == "running"
    assert (await rig.decisions(run))[-1]["verdict"]["sequences"] == {"exposure": "exposed"}


async def test_racing_actions_are_judged_in_the_order_of_their_receipts(rig: Rig) -> None:
    async def race() -> list[dict[str, Any]]:
        run = await rig.new_run()
        results = await asyncio.gather(
            rig.enter(run, READ, "read"),
            *(rig.enter(run, WRITE, f"write{i}") for i in range(3)),
            return_exceptions=True,
        )
        assert all(isinstance(r, AllowedAttempt | ApprovalRequired) for r in results)
        return await rig.decisions(run)

    for decisions in await asyncio.gather(*(race() for _ in range(15))):
        state = "clean"
        for body in decisions:
            assert body["facts"]["sequences"].get("exposure", "clean") == state
            outside = body["action"]["egress"] != "none"
            assert body["decision"] == ("ask" if outside and state == "exposed" else "allow")
            state = "exposed" if body["action"]["data"] == "confidential" else state
