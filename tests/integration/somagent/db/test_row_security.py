"""Row-level security, proved on every tenant table that the catalog knows: one tenant cannot touch another's rows."""

import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from databases import name_of
from decisions import attest_proposal, decide, give_grant, lend
from ledger_messages import CONSTITUTION, begin_effect, finish_effect, key, next_number, run_id
from sealer_keys import SealerKeys
from sqlalchemy import insert

from capsules.approvals.delegation import DelegationRequest
from capsules.approvals.standing_grant import GrantRequest
from capsules.budgets.amounts import Amounts
from capsules.constitutions.proposal import Change
from capsules.digest import sha256
from capsules.forecasts.forecast import Shape, static_forecast
from capsules.identity.principal import Principal
from capsules.identity.records import ApiKeyClaims
from capsules.retention import HoldRequest, Retention
from capsules.runs.run import Artifact
from somagent.capsule_files.library import Library
from somagent.db.database import Database
from somagent.db.gate.ledger import PostgresLedger
from somagent.db.repositories.audit_blocks import BlockWriter
from somagent.db.repositories.deliveries import DeliveryQueue
from somagent.db.schema.tables import memories
from somagent.local_stack.postgres import superuser
from somagent.settings import Settings

GLOBAL = {
    "alembic_version",
    "codec_cut_over",
    "legacy_decisions",
    "tenants",
    "constitutions",
    "constitution_signatures",
    "constitution_activations",
}
TENANT_TABLES = [
    "api_keys",
    "approval_uses",
    "approvals",
    "artifacts",
    "attestations",
    "audit_entries",
    "budget_accounts",
    "capsules",
    "constitution_proposals",
    "content_blobs",
    "delegations",
    "deliveries",
    "effects",
    "forecasts",
    "ledger_entries",
    "legal_holds",
    "memories",
    "outbox",
    "principals",
    "receipts",
    "retention",
    "revoked_starts",
    "run_starts",
    "runs",
    "seal_blocks",
    "seal_leaves",
    "seal_pending",
    "standing_grants",
    "standing_uses",
    "token_families",
]
REFUSED = asyncpg.InsufficientPrivilegeError  # by a missing grant and by a row policy alike


@pytest.fixture(scope="module")
async def tenants(
    owner: Database, db: Database, relay: Database, blocks: BlockWriter, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, str]:
    """Two tenants, each with a real row in every table, written through the database itself."""
    names = (f"row-a-{next_number()}", f"row-b-{next_number()}")
    for name in names:
        await owner.tenants.add(name)
        await _fill(db, name)
        await blocks.close_block(name, SealerKeys(tmp_path_factory.mktemp(name)).sign, most=1)
    await DeliveryQueue(relay.engine, "webhook").enqueue(["approval.requested"])
    return names


async def _fill(db: Database, tenant: str) -> None:
    run = run_id(tenant)
    ledger = PostgresLedger(db)
    capsule = Library.load().capsules[0]
    async with db.transaction(tenant) as tx:
        await tx.accounts.ensure(f"run:{run}", Amounts(tokens=10))
        await tx.principals.add(Principal(tenant=tenant, subject="ada", capabilities=frozenset()))
        await tx.api_keys.add(ApiKeyClaims(tenant=tenant, id=tenant, hash=tenant, subject="ada"), proof="")
        ends = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
        await tx.token_families.open("f1", "ada", client="test", expires_at=ends)
        grace = Principal(tenant=tenant, subject="grace", capabilities=frozenset({"approval:decide"}))
        await tx.principals.add(grace)
        lent = DelegationRequest(capability="approval:decide", to="ada")
        await tx.capsules.publish(capsule, digest=capsule.digest(), signature="", key_id="k", by="ada")
        digest = await tx.contents.put(b"bytes", "text/plain")
        change = Change(constitution=CONSTITUTION, scope=tenant)
        token = attest_proposal(db, tenant, "p1", change)
        until = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
        await tx.proposals.enter(
            "p1", change, request=change.digest(), by="ada", quorum=1, expires_at=until, token=token
        )
    await lend(db, tenant, lent)
    begun = key(tenant, run)
    await ledger.begin(begin_effect(begun, cost=Amounts(tokens=1), account=f"run:{run}"))
    await ledger.finish(finish_effect(begun, result=1))
    waits = begin_effect(key(tenant, run), decision="ask")
    waiting = await ledger.begin(waits)
    await decide(db, tenant, str(waiting.approval and waiting.approval.id))
    await ledger.begin(waits)
    asked = GrantRequest(scope="true", uses=1, expires_seconds=60, reason="test")
    given = await give_grant(db, tenant, asked, constitution=CONSTITUTION)
    passing = begin_effect(key(tenant, run), decision="ask", target="shell@1.0.0/run")
    await ledger.begin(passing.model_copy(update={"matching_grants": (given.id,)}))
    async with db.transaction(tenant) as tx:
        await tx.starts.claim(run, "once", "e1")
        await tx.starts.revoke("twice", "test", "ada")
        await tx.retention.set(Retention(content_days=9), by="ada")
        await tx.retention.place(HoldRequest(scope="tenant", reason="Case 1"), by="ada")
        shape = Shape(capsule="word-count")
        await tx.forecasts.keep(run, shape, static_forecast(shape, Amounts(), "No data."))
        await tx.artifacts.add(run, Artifact(name="a.txt", media_type="text/plain", digest=digest, size=5))
        values = {"id": "m1", "space": "default", "text": "t", "run": run, "key": "k", "embedding": [1.0] + [0.0] * 383}
        await tx.connection.execute(insert(memories).values(tenant_id=tenant, **values))


@asynccontextmanager
async def _connect_as(db: Database, tenant: str | None) -> AsyncIterator["asyncpg.Connection"]:
    """Yield a connection whose changes never stay."""
    async with db.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        try:
            if tenant is not None:
                await connection.execute("SELECT set_config('somagent.tenant', $1, true)", tenant)
            yield connection
        finally:
            await transaction.rollback()


async def test_every_table_with_a_tenant_has_forced_security_and_an_owner_other_than_the_application(
    postgres_settings: Settings, owner
):
    async with superuser(postgres_settings, database=name_of(postgres_settings)) as connection:
        rows = await connection.fetch(
            "SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity, pg_get_userbyid(c.relowner) AS owner, "
            "EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id') AS tenant "
            "FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')"
        )
        policies = await connection.fetch(
            "SELECT tablename, qual, with_check FROM pg_policies WHERE policyname = 'one_tenant'"
        )
    assert {row["relname"] for row in rows if not row["tenant"]} == GLOBAL
    found = [row for row in rows if row["tenant"]]
    assert sorted(row["relname"] for row in found) == TENANT_TABLES
    assert all(row["relrowsecurity"] and row["relforcerowsecurity"] for row in found)
    assert {row["owner"] for row in rows} == {"somagent_owner"}
    assert sorted(row["tablename"] for row in policies) == TENANT_TABLES
    assert all("somagent.tenant" in p["qual"] and p["qual"] == p["with_check"] for p in policies)


async def test_no_role_of_ours_gets_past_row_security(postgres_settings: Settings, owner):
    async with superuser(postgres_settings, database=name_of(postgres_settings)) as connection:
        strong = await connection.fetch(
            "SELECT rolname FROM pg_roles WHERE rolname LIKE 'somagent%' "
            "AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication)"
        )
        members = await connection.fetch(
            "SELECT 1 FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member WHERE r.rolname LIKE 'somagent%'"
        )
    assert not strong
    assert not members


@pytest.mark.parametrize("table", TENANT_TABLES)
@pytest.mark.parametrize("role", ["app", "owner"])
class TestAcrossTenants:
    """Both roles: the owner too is held by the policies, where it has every other privilege."""

    async def test_reads_its_own_rows_and_no_others(self, db, owner, tenants, role, table):
        mine, _ = tenants
        async with _connect_as(db if role == "app" else owner, mine) as connection:
            assert await connection.fetchval(f"SELECT count(*) FROM {table} WHERE tenant_id = $1", mine) > 0
            assert await connection.fetchval(f"SELECT count(*) FROM {table} WHERE tenant_id <> $1", mine) == 0

    async def test_sees_nothing_without_a_tenant(self, db, owner, tenants, role, table):
        for setting in (None, ""):
            async with _connect_as(db if role == "app" else owner, setting) as connection:
                assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0

    async def test_cannot_insert_for_another_tenant_or_none(self, db, owner, tenants, role, table):
        mine, theirs = tenants
        async with _connect_as(db, theirs) as connection:
            row = await connection.fetchval(f"SELECT to_jsonb(t) FROM {table} t LIMIT 1")
        for setting in (mine, None):
            async with _connect_as(db if role == "app" else owner, setting) as connection:
                may = await connection.fetchval("SELECT has_table_privilege($1, 'INSERT')", table)
                with pytest.raises(REFUSED, match="row-level security" if may else "permission denied"):
                    await connection.execute(
                        f"INSERT INTO {table} SELECT * FROM jsonb_populate_record(NULL::{table}, $1)", row
                    )

    async def test_cannot_update_or_delete_anothers_rows(self, db, owner, tenants, role, table):
        mine, theirs = tenants
        for setting in (mine, None):
            for statement in (f"UPDATE {table} SET tenant_id = tenant_id", f"DELETE FROM {table}"):
                async with _connect_as(db if role == "app" else owner, setting) as connection:
                    verb = statement.split()[0]
                    if await connection.fetchval("SELECT has_table_privilege($1, $2)", table, verb):
                        assert (await connection.execute(f"{statement} WHERE tenant_id = $1", theirs)).endswith(" 0")
                        continue
                    assert role == "app"
                    with pytest.raises(REFUSED, match="permission denied"):
                        await connection.execute(f"{statement} WHERE tenant_id = $1", theirs)

    async def test_cannot_give_its_rows_to_another_tenant(self, db, owner, tenants, role, table):
        mine, theirs = tenants
        async with _connect_as(db if role == "app" else owner, mine) as connection:
            # What is immutable is refused by its trigger first, whoever asks.
            with pytest.raises(
                (REFUSED, asyncpg.PostgresError), match=r"row-level security|permission denied|never changed"
            ):
                await connection.execute(f"UPDATE {table} SET tenant_id = $1", theirs)


@pytest.mark.parametrize(
    "table",
    sorted(
        {
            "capsules",
            "receipts",
            "ledger_entries",
            "audit_entries",
            "seal_leaves",
            "seal_blocks",
            "forecasts",
            "run_starts",
            "revoked_starts",
        }
    ),
)
async def test_what_is_immutable_cannot_be_changed_deleted_or_emptied_even_by_the_owner(owner, tenants, table):
    for statement in (f"UPDATE {table} SET tenant_id = tenant_id", f"DELETE FROM {table}", f"TRUNCATE {table}"):
        async with _connect_as(owner, tenants[0]) as connection:
            with pytest.raises(asyncpg.PostgresError, match="never changed or deleted"):
                await connection.execute(statement)


async def test_the_application_only_adds_to_the_record(postgres_settings: Settings, owner):
    async with superuser(postgres_settings, database=name_of(postgres_settings)) as connection:
        rows = await connection.fetch(
            "SELECT table_name, array_agg(privilege_type::text ORDER BY privilege_type) AS granted "
            "FROM information_schema.role_table_grants WHERE grantee = 'somagent_app' GROUP BY table_name"
        )
    granted = {row["table_name"]: row["granted"] for row in rows}
    assert granted["receipts"] == granted["ledger_entries"] == granted["runs"] == ["SELECT"]
    assert granted["constitutions"] == granted["tenants"] == ["SELECT"]
    assert not any({"DELETE", "TRUNCATE"} & set(rights) for rights in granted.values())


async def test_the_relay_reads_events_of_all_and_changes_only_their_mark(relay: Database, tenants):
    async with _connect_as(relay, None) as connection:
        seen = {row["tenant_id"] for row in await connection.fetch("SELECT DISTINCT tenant_id FROM outbox")}
        assert set(tenants) <= seen
        assert await connection.fetchval("SELECT count(*) FROM runs") > 0
        await connection.execute("UPDATE outbox SET published_at = now()")
    for statement in (
        "SELECT 1 FROM receipts",
        "SELECT 1 FROM content_blobs",
        "UPDATE outbox SET topic = 'x'",
        "DELETE FROM outbox",
        "UPDATE runs SET status = 'failed'",
        "DELETE FROM deliveries",
        "SELECT 1 FROM standing_grants",
    ):
        async with _connect_as(relay, None) as connection:
            with pytest.raises(REFUSED):
                await connection.execute(statement)


async def test_a_digest_of_bytes_is_the_same_for_both_and_the_rows_are_apart(db, tenants):
    for tenant in tenants:
        async with db.transaction(tenant) as tx:
            assert await tx.contents.get(sha256(b"bytes")) == b"bytes"
