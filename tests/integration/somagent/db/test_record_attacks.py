"""Attacks on the record by SQL: the application's role is refused, and what a superuser changes is named by the auditor."""

from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
from databases import name_of
from ledger_messages import begin_effect, finish_effect, key, run_id
from sealer_keys import SealerKeys

from capsules.audit.auditor import Auditor, VerificationError, group_by_block
from capsules.audit.ledger_entry import LedgerRecord
from capsules.audit.projections import ProjectionAuditor, check_run_row
from capsules.audit.receipt import verify_chain
from capsules.budgets.amounts import Amounts
from capsules.digest import digest
from capsules.runs.run import CloseRun, NewRun
from somagent.db.database import Database
from somagent.db.gate.ledger import PostgresLedger
from somagent.db.gate.run_projection import PostgresRuns
from somagent.db.repositories.audit_blocks import BlockWriter
from somagent.local_stack.postgres import superuser
from somagent.settings import Settings

OUTPUT = {"label": "bug", "text": "Zürich \N{SNOWMAN}"}


@dataclass(frozen=True)
class Record:
    """The record of a tenant with one run that has ended and one that is open, all of it in blocks."""

    settings: Settings
    db: Database
    blocks: BlockWriter
    keys: SealerKeys
    tenant: str
    ended: str
    open: str

    async def seal(self) -> None:
        while await self.blocks.close_block(self.tenant, self.keys.sign, most=1000):
            pass

    async def check(self) -> tuple[int, int]:
        """Check everything as `somagent audit verify` does; return how many accounts and runs were compared."""
        async with self.db.transaction(self.tenant) as tx:
            status = await tx.audit.status()
            blocks, records = await tx.audit.blocks(), await tx.audit.records(limit=5000)
            accounts = await tx.audit.accounts(sealed=status.leaves)
            runs = await tx.audit.runs(sealed=status.leaves)
        projections = ProjectionAuditor()
        auditor = Auditor(self.tenant, self.keys.checks, projections.read)
        for block, own in group_by_block(blocks, records):
            auditor.check_block(block, own)
        if status.strays:
            raise VerificationError(f"In no block: {status.strays[0]}.")
        return projections.ledger.check_accounts(accounts), projections.check_runs(runs)

    async def check_one(self, run: str) -> None:
        """Check one run as `somagent audit verify RUN` does."""
        async with self.db.transaction(self.tenant) as tx:
            [row] = await tx.audit.runs(sealed=2**50, only=run)
            receipts = await tx.receipts.list(run)
        if problem := verify_chain(receipts):
            raise VerificationError(problem)
        check_run_row(row, receipts)

    def fill(self, statement: str) -> str:
        """Return a statement with the names of this record in place of `{tenant}`, `{ended}`, `{open}` and `{root}`."""
        names = {"tenant": self.tenant, "ended": self.ended, "open": self.open, "root": f"tenant:{self.tenant}"}
        for name, value in names.items():
            statement = statement.replace(f"{{{name}}}", value)
        return statement


@pytest.fixture
async def record(  # noqa: PLR0917 - fixtures
    postgres_settings: Settings, db: Database, ledger: PostgresLedger, tenant: str, blocks: BlockWriter, tmp_path: Path
) -> Record:
    ended, still_open = run_id(tenant), run_id(tenant)
    found = Record(postgres_settings, db, blocks, SealerKeys(tmp_path), tenant, ended, still_open)
    async with db.transaction(tenant) as tx:
        await tx.accounts.ensure(f"tenant:{tenant}", Amounts(tokens=1000, tool_calls=50))
        await tx.audit.add("ada", "test.changed", "nothing", {"n": 1})
    for run in (ended, still_open):
        await admit_run(db, tenant, run)
        for _ in range(2):
            act = key(tenant, run)
            await ledger.begin(begin_effect(act, cost=Amounts(tokens=40), account=f"run:{run}"))
            await ledger.finish(finish_effect(act, usage=Amounts(tokens=30), result={"said": "yes"}))
    await ledger.begin(begin_effect(key(tenant, ended), cost=Amounts(tokens=40), account=f"run:{ended}"))  # is charged
    await PostgresRuns(db).close(
        CloseRun(run=ended, tenant=tenant, status="completed", reason="Done.", output=OUTPUT, seconds=3)
    )
    await found.seal()
    assert await found.check() == (3, 2)
    for run in (ended, still_open):
        await found.check_one(run)
    return found


async def admit_run(db: Database, tenant: str, run: str) -> None:
    capsule = "word-count@1.0.0"
    async with db.transaction(tenant) as tx:
        await tx.runs.accept(NewRun(id=run, capsule=capsule, digest=digest({}), actor="ada", request=digest(run)))
        account = f"run:{run}"
        await tx.accounts.carve_run(f"tenant:{tenant}", account, Amounts(tokens=200), seconds=60)
        await tx.runs.admit(run, digest=digest({}), parent=None, account=account, lock={"capsule": capsule})


ENTRY = (
    "INSERT INTO ledger_entries (tenant_id, account, kind, key, {columns}) VALUES ('{tenant}', '{account}', {values})"
)


def entry(account: str, kind: str, entry_key: str, **changes: int) -> str:
    """Return the statement that posts an entry."""
    values = ", ".join([f"'{kind}'", f"'{entry_key}'", *map(str, changes.values())])
    statement = ENTRY.replace("{columns}", ", ".join(changes)).replace("{values}", values)
    return statement.replace("{account}", account)


FORGERIES = {
    "what is spent is taken back by a negative entry": (
        entry("run:{open}", "settle", "any", spent_tokens=-60),
        "UPDATE budget_accounts SET spent_tokens = 0 WHERE id = 'run:{open}'",
    ),
    "a balance is changed": ("UPDATE budget_accounts SET spent_tokens = 0 WHERE id = '{root}'",),
    "a limit is raised by a forged carve": (
        entry("run:{open}", "raise", "forged", limit_tokens=500),
        entry("{root}", "carve", "run:{open}", reserved_tokens=500),
        "UPDATE budget_accounts SET limit_tokens = limit_tokens + 500 WHERE id = 'run:{open}'",
        "UPDATE budget_accounts SET reserved_tokens = reserved_tokens + 500 WHERE id = '{root}'",
    ),
    "an entry is posted by the function of the functions": (
        "SELECT account_post('run:{open}', 'settle', 'any', '', amounts_none(), (-60, 0, 0)::amounts, amounts_none())",
    ),
    "a month that has not come is opened": ("SELECT period_open('{root}', now() + interval '1 year')",),
    "an account is closed by its row": ("UPDATE budget_accounts SET closed_at = now() WHERE id = 'run:{open}'",),
    "a run that has ended is opened again": (
        "UPDATE runs SET status = 'running', closed_at = NULL WHERE id = '{ended}'",
    ),
    "a run is ended by its row": ("UPDATE runs SET status = 'completed', closed_at = now() WHERE id = '{open}'",),
    "a run is recorded as completed": ("SELECT run_record('{open}', 'completed', '', 1)",),
    "another output": ("UPDATE runs SET output = '1' WHERE id = '{ended}'",),
    "another actor": ("UPDATE runs SET actor = 'eve' WHERE id = '{open}'",),
    "another lock": ("UPDATE runs SET lock = '{}' WHERE id = '{open}'",),
    "a receipt is added": (
        (
            "INSERT INTO receipts SELECT tenant_id, run, 6, at, kind, activity, attempt, body, body_digest, hash, hash "
            "FROM receipts WHERE run = '{open}' AND seq = 4"
        ),
    ),
    "a receipt is appended": (
        "SELECT receipt_append('{open}', 'decision', 'a', 1, '{\"decision\": \"\\\"allow\\\"\"}')",
    ),
    "an audit entry in the name of another": (
        (
            "INSERT INTO audit_entries (tenant_id, at, actor, action, subject, body, hash) "
            "VALUES ('{tenant}', now(), 'approver', 'approval.answered', 'a1', '{}', 'sha256:0')"
        ),
    ),
    "another result of an effect": ("UPDATE effects SET result = '{\"said\": \"no\"}' WHERE run = '{open}'",),
    "an effect is made undone": ("UPDATE effects SET state = 'started' WHERE run = '{open}'",),
    "an event is changed": ("UPDATE outbox SET data = '{}' WHERE run = '{open}'",),
    "a standing grant is used for nobody": (
        "INSERT INTO standing_uses (tenant_id, effect, standing, run, action) VALUES ('{tenant}', 'e', 'g', '{open}', 'a')",
    ),
}


async def execute_all(connection: "asyncpg.Connection", record: Record, statements: tuple[str, ...]) -> None:
    async with connection.transaction():
        for statement in statements:
            await connection.execute(record.fill(statement))


@pytest.mark.parametrize("attack", FORGERIES)
async def test_the_applications_role_cannot_forge(record: Record, attack: str) -> None:
    async with record.db.transaction(record.tenant) as tx:
        before = (await tx.audit.accounts(sealed=2**50), await tx.audit.runs(sealed=2**50))
    async with record.db.pool.acquire() as connection:
        await connection.execute("SELECT set_config('somagent.tenant', $1, false)", record.tenant)
        try:
            with pytest.raises(asyncpg.PostgresError) as caught:
                await execute_all(connection, record, FORGERIES[attack])
        finally:
            await connection.execute("RESET somagent.tenant")
    assert caught.value.sqlstate in {"42501", "SO409"}, caught.value
    async with record.db.transaction(record.tenant) as tx:
        after = (await tx.audit.accounts(sealed=2**50), await tx.audit.runs(sealed=2**50))
    assert after == before


async def test_an_admission_that_is_repeated_changes_no_lock(record: Record) -> None:
    async with record.db.transaction(record.tenant) as tx:
        kept = await tx.runs.lock(record.open)
        await tx.runs.admit(record.open, digest=digest(1), parent="x", account="y", lock={"tools": 1})
        assert await tx.runs.lock(record.open) == kept
    assert await record.check() == (3, 2)


SIGNS = {
    "what is spent falls": (entry("run:{open}", "settle", "any", spent_tokens=-60), "SO409"),
    "a charge takes back": (entry("run:{open}", "charge", "any", spent_tokens=-1, reserved_tokens=1), "23514"),
    "a reservation spends": (entry("run:{open}", "reserve", "any", spent_tokens=-1, reserved_tokens=1), "23514"),
    "a settlement raises": (entry("run:{open}", "settle", "any", limit_tokens=100), "23514"),
    "a raise lowers": (entry("{root}", "raise", "any", limit_tokens=-5), "23514"),
    "a raise that nobody holds": (entry("run:{open}", "raise", "any", limit_tokens=5), "SO409"),
    "a carve for nobody": (entry("{root}", "carve", "run:nobody", reserved_tokens=-5), "SO409"),
    "a carve that is no limit": (entry("{root}", "carve", "run:{open}", reserved_tokens=-5), "SO409"),
    "a return of an open account": (
        entry("{root}", "return", "run:{open}", spent_tokens=60, reserved_tokens=-200),
        "SO409",
    ),
    "a month that spends": (entry("{root}", "period", "2020-01-01", spent_tokens=5), "23514"),
    "seconds of an effect": (entry("{root}", "settle", "any", spent_seconds=-5), "23514"),
    "a run ends without its time": ("UPDATE runs SET status = 'completed' WHERE id = '{open}'", "23514"),
    "an ended run": ("UPDATE runs SET status = 'running', closed_at = NULL WHERE id = '{ended}'", "SO409"),
    "an ended run's output": ("UPDATE runs SET output = '1' WHERE id = '{ended}'", "SO409"),
    "a run's actor": ("UPDATE runs SET actor = 'eve' WHERE id = '{open}'", "SO409"),
    "a run's lock": ("UPDATE runs SET lock = '{}' WHERE id = '{open}'", "SO409"),
    "a run is deleted": ("DELETE FROM runs WHERE id = '{open}'", "SO409"),
}


@pytest.mark.parametrize("attack", SIGNS)
async def test_the_tables_refuse_what_cannot_be_even_from_a_superuser(record: Record, attack: str) -> None:
    statement, state = SIGNS[attack]
    async with superuser(record.settings, database=name_of(record.settings)) as connection:
        await connection.execute("SELECT set_config('somagent.tenant', $1, false)", record.tenant)
        with pytest.raises(asyncpg.PostgresError) as caught:
            await connection.execute(record.fill(statement))
    assert caught.value.sqlstate == state, caught.value


QUEUED = "ALTER TABLE ledger_entries ENABLE ALWAYS TRIGGER queued"
TAMPERING = {
    "ledger entry altered": (
        ("UPDATE ledger_entries SET spent_tokens = 0 WHERE account = 'run:{open}' AND kind = 'settle'",),
        "of account 'run:{open}' was altered",
    ),
    "ledger entry in another name": (
        ("UPDATE ledger_entries SET by = 'approver' WHERE account = '{root}' AND kind = 'open'",),
        "of account '{root}' was altered",
    ),
    "ledger entry deleted": (
        ("DELETE FROM ledger_entries WHERE account = 'run:{open}' AND kind = 'settle'",),
        "of account 'run:{open}' is gone",
    ),
    "ledger entry added": ((entry("run:{open}", "settle", "any", spent_tokens=-60),), "In no block: ledger entry"),
    "ledger entry added and queued": (
        (
            QUEUED,
            entry("run:{open}", "settle", "any", spent_tokens=-60),
            "UPDATE budget_accounts SET spent_tokens = 0 WHERE id = 'run:{open}'",
        ),
        "gives back more than was charged for 'any'",
    ),
    "reservation given back twice": (
        (QUEUED, entry("run:{open}", "settle", "any", reserved_tokens=-60)),
        "gives back more than is reserved for 'any'",
    ),
    "limit raised without its parent": (
        (
            QUEUED,
            entry("run:{open}", "raise", "any", limit_tokens=60),
            "UPDATE budget_accounts SET limit_tokens = limit_tokens + 60 WHERE id = 'run:{open}'",
        ),
        "Account 'run:{open}' has the limit",
    ),
    "part returned that was not spent": (
        (
            QUEUED,
            entry("{root}", "return", "run:{ended}", spent_tokens=1),
            "UPDATE budget_accounts SET spent_tokens = spent_tokens + 1 WHERE id = '{root}'",
        ),
        "Account 'run:{ended}' handed",
    ),
    "spent zeroed": (
        ("UPDATE budget_accounts SET spent_tokens = 0 WHERE id = '{root}'",),
        "Account '{root}' shows spent",
    ),
    "limit raised": (
        ("UPDATE budget_accounts SET limit_tokens = 10000 WHERE id = '{root}'",),
        "Account '{root}' shows limit",
    ),
    "account opened again": (
        ("UPDATE budget_accounts SET closed_at = NULL WHERE id = 'run:{ended}'",),
        "Account 'run:{ended}' is open after its closing entry",
    ),
    "account moved": (
        ("UPDATE budget_accounts SET parent = NULL WHERE id = 'run:{open}'",),
        "Account 'run:{open}' is not under '{root}'",
    ),
    "account deleted": (("DELETE FROM budget_accounts WHERE id = 'run:{open}'",), "Account 'run:{open}' is gone"),
    "run opened again": (
        ("UPDATE runs SET status = 'running', closed_at = NULL WHERE id = '{ended}'",),
        "Run '{ended}' shows that it is open; a receipt ended it as completed",
    ),
    "run ended": (
        ("UPDATE runs SET status = 'completed', closed_at = now() WHERE id = '{open}'",),
        "Run '{open}' shows that it is completed, and no receipt ended it",
    ),
    "another status": (
        ("UPDATE runs SET status = 'failed' WHERE id = '{ended}'",),
        "Run '{ended}' shows status 'failed'; its receipts say 'completed'",
    ),
    "another reason": (("UPDATE runs SET reason = 'x' WHERE id = '{ended}'",), "Run '{ended}' shows reason 'x'"),
    "another output": (("UPDATE runs SET output = '1' WHERE id = '{ended}'",), "Run '{ended}' shows another output"),
    "another artifact": (("UPDATE runs SET artifact = 'x' WHERE id = '{ended}'",), "Run '{ended}' shows artifact 'x'"),
    "fewer denials": (("UPDATE runs SET denials = 7 WHERE id = '{ended}'",), "Run '{ended}' shows denials 7"),
    "another actor": (("UPDATE runs SET actor = 'eve' WHERE id = '{open}'",), "The row of run '{open}' was altered"),
    "another lock": (("UPDATE runs SET lock = '{}' WHERE id = '{open}'",), "The row of run '{open}' was altered"),
    "run deleted": (("DELETE FROM runs WHERE id = '{open}'",), "The row of run '{open}' is gone"),
    "receipt at another time": (
        ("UPDATE receipts SET at = at - interval '1 day' WHERE run = '{open}' AND seq = 2",),
        "Receipt 2 of run '{open}' was altered: it shows at",
    ),
    "receipt of another activity": (
        ("UPDATE receipts SET activity = 'x' WHERE run = '{open}' AND seq = 2",),
        "Receipt 2 of run '{open}' was altered: it shows activity 'x'",
    ),
    "receipt of another attempt": (
        ("UPDATE receipts SET attempt = 9 WHERE run = '{open}' AND seq = 1",),
        "Receipt 1 of run '{open}' was altered: it shows attempt 9",
    ),
    "receipt of another kind": (
        ("UPDATE receipts SET kind = 'outcome' WHERE run = '{open}' AND seq = 1",),
        "Receipt 1 of run '{open}' was altered: it shows kind 'outcome'",
    ),
    "audit entry of another actor": (
        ("UPDATE audit_entries SET actor = 'approver' WHERE action = 'test.changed'",),
        "was altered: it shows actor 'approver', and its body says 'ada'",
    ),
    "audit entry of another action": (
        ("UPDATE audit_entries SET action = 'x' WHERE action = 'test.changed'",),
        "was altered: it shows action 'x'",
    ),
}
ONE_RUN = {
    "run opened again",
    "another status",
    "another reason",
    "another output",
    "another artifact",
    "receipt at another time",
    "receipt of another activity",
    "receipt of another attempt",
}


@pytest.mark.parametrize("attack", TAMPERING)
async def test_what_a_superuser_changes_is_named(record: Record, attack: str) -> None:
    statements, named = TAMPERING[attack]
    async with superuser(record.settings, database=name_of(record.settings)) as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("SET LOCAL session_replication_role = replica")  # no trigger but those enabled always
        for statement in statements:
            scoped = record.fill(statement)
            if "WHERE" in scoped:
                scoped += f" AND tenant_id = '{record.tenant}'"
            await connection.execute(scoped)
        await transaction.commit()
        await connection.execute("ALTER TABLE ledger_entries ENABLE TRIGGER queued")
    await record.seal()
    with pytest.raises(VerificationError) as caught:
        await record.check()
    assert record.fill(named) in str(caught.value)
    if attack in ONE_RUN:
        with pytest.raises(VerificationError):
            await record.check_one(record.ended if "{ended}" in statements[0] else record.open)


async def test_rows_newer_than_the_sealed_part_are_compared_with_the_records_that_wait(
    record: Record, ledger: PostgresLedger
) -> None:
    act = key(record.tenant, record.open)
    await ledger.begin(begin_effect(act, cost=Amounts(tokens=40), account=f"run:{record.open}"))
    assert await record.check() == (3, 2)
    await PostgresRuns(record.db).close(
        CloseRun(run=record.open, tenant=record.tenant, status="failed", reason="Lost.")
    )
    assert await record.check() == (3, 2)
    async with superuser(record.settings, database=name_of(record.settings)) as connection:
        await connection.execute("SET session_replication_role = replica")
        await connection.execute("UPDATE runs SET reason = 'x' WHERE id = $1", record.open)
    with pytest.raises(VerificationError, match="shows reason 'x'; its receipts say 'Lost"):
        await record.check()


async def test_a_body_that_repeats_an_earlier_one_has_its_own_number(record: Record) -> None:
    async with record.db.transaction(record.tenant) as tx:
        records = await tx.audit.records(limit=5000)
    kinds = {kind: [r for r in records if r.leaf.kind == kind] for kind in ("receipt", "audit", "ledger", "run")}
    assert all(kinds.values())
    assert all(LedgerRecord(*r.columns).id == r.leaf.number for r in kinds["ledger"] if r.columns)
    assert {r.leaf.subject for r in kinds["run"]} == {record.ended, record.open}
