"""Admission of a composite: each capsule below it is found and checked once, and an altered one is refused."""

import time
from typing import Any

import pytest
from capsule_texts import composite, utility
from ledger_messages import CONSTITUTION, begin_effect, key, run_id
from sqlalchemy import event

from capsules.budgets.amounts import Amounts
from capsules.capsule import Capsule
from capsules.digest import digest
from capsules.errors import TamperedContent
from capsules.identity.authority import Authority
from capsules.runs.run import Admission, StartCapsule
from policy.forecasts.forecaster import learn
from somagent.capsule_files.document import load
from somagent.capsule_files.library import Library
from somagent.db.database import Database
from somagent.db.gate.ledger import PostgresLedger
from somagent.forecasts.run_forecasts import ForecasterCache
from somagent.identity.keys import KeyRing
from somagent.identity.signatures import sign_digest
from somagent.models.profiles import Profiles
from somagent.runs.admission import CapsuleAdmissions
from somagent.settings import Settings

LEAF = load(utility("leaf", "print(1)"))
INNER = load(composite("inner", "- {id: one, capsule: leaf}"))
OUTER = load(composite("outer", "- {id: a, capsule: leaf}\n- {id: b, capsule: leaf}\n- {id: c, capsule: inner}"))


@pytest.fixture
def keyring(postgres_settings: Settings) -> KeyRing:
    return KeyRing.create_missing(postgres_settings.keys_dir)


@pytest.fixture
def admissions(postgres_settings: Settings, db: Database, keyring: KeyRing) -> CapsuleAdmissions:
    return CapsuleAdmissions(
        db,
        keyring,
        Library.load(),
        profiles=Profiles.from_settings(postgres_settings),
        image=postgres_settings.sandbox_image,
        forecasters=ForecasterCache(db, learn),
    )


async def publish(db: Database, tenant: str, keyring: KeyRing, capsule: Capsule, *, altered: bool = False) -> None:
    signed = sign_digest(keyring, "publisher", digest("another") if altered else capsule.digest())
    async with db.transaction(tenant) as tx:
        await tx.capsules.publish(
            capsule, digest=capsule.digest(), signature=signed.value, key_id=signed.key_id, by="ada"
        )


async def admit(admissions: CapsuleAdmissions, db: Database, tenant: str) -> Admission:
    """Admit a run of the outer capsule, as the activity `capsule.start` does behind the gate."""
    run = run_id(tenant)
    async with db.transaction(tenant) as tx:
        await tx.accounts.ensure(f"tenant:{tenant}", Amounts(tool_calls=100))
    await PostgresLedger(db).begin(begin_effect(key(tenant, run), kind="capsule.start", target=OUTER.ref))
    authority = Authority(
        kind="start",
        tenant=tenant,
        actor="ada",
        run=run,
        account=f"tenant:{tenant}",
        capsules={OUTER.ref: OUTER.digest()},
        constitution=CONSTITUTION,
        expires_at=int(time.time()) + 600,
    )
    request = StartCapsule(capsule=OUTER.ref, digest=OUTER.digest(), inputs=digest({}))
    return await admissions.admit(request, run=run, execution="e", authority=authority)


async def test_each_child_is_read_once_however_often_it_is_used(
    admissions: CapsuleAdmissions, db: Database, tenant: str, keyring: KeyRing
) -> None:
    for capsule in (LEAF, INNER, OUTER):
        await publish(db, tenant, keyring, capsule)
    reads: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "FROM capsules" in statement and "capsules.document" in statement:
            reads.append(statement)

    event.listen(db.engine.sync_engine, "before_cursor_execute", note)
    try:
        lock = (await admit(admissions, db, tenant)).lock
    finally:
        event.remove(db.engine.sync_engine, "before_cursor_execute", note)
    assert lock.task_capsules == {"a": LEAF.ref, "b": LEAF.ref, "c": INNER.ref}
    assert lock.children == {LEAF.ref: LEAF.digest(), INNER.ref: INNER.digest()}
    assert lock.composites == {INNER.ref}
    assert len(reads) == 3


async def test_a_child_whose_signature_does_not_hold_admits_nothing(
    admissions: CapsuleAdmissions, db: Database, tenant: str, keyring: KeyRing
) -> None:
    await publish(db, tenant, keyring, LEAF, altered=True)
    for capsule in (INNER, OUTER):
        await publish(db, tenant, keyring, capsule)
    with pytest.raises(TamperedContent, match="leaf"):
        await admit(admissions, db, tenant)
