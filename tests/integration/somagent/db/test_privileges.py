"""Privileges of the database's roles, compared with an explicit list: whoever grants one writes it here, with the reason."""

from collections import defaultdict
from collections.abc import AsyncIterator

import asyncpg
import pytest
from databases import name_of

from somagent.db.database import Database
from somagent.local_stack.postgres import superuser
from somagent.settings import Settings

READS = [
    "api_keys",
    "approval_uses",
    "approvals",
    "artifacts",
    "attestations",
    "audit_entries",
    "budget_accounts",
    "capsules",
    "codec_cut_over",
    "constitution_activations",
    "constitution_proposals",
    "constitution_signatures",
    "constitutions",
    "content_blobs",
    "delegations",
    "deliveries",
    "effects",
    "forecasts",
    "ledger_entries",
    "legacy_decisions",
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
    "tenants",
    "token_families",
]
APP_WRITES = {
    # Rows that are only added, under a key of their own, and checked when they are used: by digest or signature.
    "capsules": {"INSERT"},
    "content_blobs": {"INSERT", "UPDATE (last_put_at)"},
    "artifacts": {"INSERT"},
    "memories": {"INSERT"},
    "forecasts": {"INSERT"},
    # Rows whose every change is audited by a trigger.
    "approvals": {"INSERT", "UPDATE"},
    "standing_grants": {
        "INSERT",
        "UPDATE (attestation)",
        "UPDATE (constitution)",
        "UPDATE (revocation)",
        "UPDATE (revoked_at)",
        "UPDATE (revoked_by)",
        "UPDATE (uses_left)",
    },
    "delegations": {"INSERT", "UPDATE (revocation)", "UPDATE (revoked_at)", "UPDATE (revoked_by)"},
    "constitution_proposals": {"INSERT", "UPDATE"},
    "retention": {"INSERT", "UPDATE"},
    "legal_holds": {"INSERT", "UPDATE (lifted_at)", "UPDATE (lifted_by)"},
}
TABLES: dict[str, dict[str, set[str]]] = {
    "somagent_app": {table: {"SELECT"} | APP_WRITES.get(table, set()) for table in READS},
    "somagent_relay": {
        "tenants": {"SELECT"},
        "codec_cut_over": {"SELECT"},
        "runs": {"SELECT"},
        "outbox": {"SELECT", "UPDATE (published_at)"},
        "deliveries": {"SELECT", "INSERT", "UPDATE"},
    },
    "somagent_sealer": {
        "seal_pending": {"SELECT", "DELETE"},
        "seal_leaves": {"SELECT", "INSERT"},
        "seal_blocks": {"SELECT", "INSERT"},
    },
}
ENTRIES = {
    "account_allow",
    "account_carve",
    "account_close",
    "account_conservation",
    "account_give_credit",
    "account_open",
    "account_raise",
    "account_retire",
    "approval_edited",
    "attestation_use",
    "audit_add",
    "constitution_activate",
    "constitution_install",
    "constitution_revoke",
    "constitution_unshadow",
    "credentials_end",
    "delegators_lock",
    "event_publish",
    "family_end",
    "family_open",
    "family_renew",
    "gate_begin",
    "gate_facts",
    "gate_finish",
    "key_add",
    "key_end",
    "key_sign",
    "period_begin",
    "principal_put",
    "retention_due",
    "run_accept",
    "run_admit",
    "run_carve",
    "run_close",
    "run_enrol",
    "run_lock",
    "run_record",
    "start_claim",
    "start_revoke",
    "tenant_put",
}
"""Functions by which the application writes. They run with the owner's rights, which row-level security limits."""
READING = {
    "approval_duties",
    "approval_satisfied",
    "canonical_amounts",
    "canonical_text",
    "canonical_time",
    "constitution_activation",
    "constitution_of",
    "digest_text",
    "identity_resolve",
    "ledger_columns",
    "run_body",
}
"""Functions with the caller's rights, for constraints and queries. They write nothing."""
FUNCTIONS = {
    "somagent_app": ENTRIES | READING,
    "somagent_relay": {"retention_prune"},
    "somagent_sealer": {"seal_take", "seal_waiting"},
}
DEFINERS = ENTRIES | {"audit_row", "keep_carved", "retention_prune"}

Privileges = dict[str, dict[str, set[str]]]


@pytest.fixture
async def catalog(postgres_settings: Settings, owner: Database) -> AsyncIterator["asyncpg.Connection"]:
    """A superuser's connection to the database, which reads its catalogue."""
    async with superuser(postgres_settings, database=name_of(postgres_settings)) as connection:
        yield connection


async def granted(catalog: "asyncpg.Connection", query: str) -> Privileges:
    """Return privileges by role and object of a query of object, grantee (0 is everybody) and privilege."""
    found: Privileges = defaultdict(lambda: defaultdict(set))
    for row in await catalog.fetch(query):
        found[row["role"]][row["object"]].add(row["privilege"])
    return {role: dict(objects) for role, objects in found.items()}


NAMED = "CASE grantee WHEN 0 THEN 'everybody' ELSE pg_get_userbyid(grantee) END AS role"


async def test_tables_and_columns_are_granted_as_listed(catalog: "asyncpg.Connection") -> None:
    found = await granted(
        catalog,
        f"SELECT relname AS object, {NAMED}, privilege_type AS privilege "
        "FROM pg_class, aclexplode(relacl) WHERE relnamespace = 'public'::regnamespace "
        "AND relkind IN ('r', 'v', 'm', 'p', 'f') AND grantee <> relowner UNION ALL "
        f"SELECT relname, {NAMED}, privilege_type || ' (' || attname || ')' "
        "FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid, aclexplode(attacl) "
        "WHERE relnamespace = 'public'::regnamespace AND grantee <> relowner",
    )
    assert found == TABLES


async def test_no_role_can_use_a_sequence_but_the_owner(catalog: "asyncpg.Connection") -> None:
    found = await granted(
        catalog,
        f"SELECT relname AS object, {NAMED}, privilege_type AS privilege FROM pg_class, aclexplode(relacl) "
        "WHERE relnamespace = 'public'::regnamespace AND relkind = 'S' AND grantee <> relowner",
    )
    assert found == {}


async def test_functions_are_granted_as_listed(catalog: "asyncpg.Connection") -> None:
    found = await granted(
        catalog,
        f"SELECT proname AS object, {NAMED}, privilege_type AS privilege "
        "FROM pg_proc, aclexplode(coalesce(proacl, acldefault('f', proowner))) "
        "WHERE pronamespace = 'public'::regnamespace AND proowner = 'somagent_owner'::regrole AND grantee <> proowner",
    )
    assert {role: set(objects) for role, objects in found.items()} == FUNCTIONS


async def test_a_new_function_is_nobodys(catalog: "asyncpg.Connection") -> None:
    transaction = catalog.transaction()
    await transaction.start()
    await catalog.execute("SET LOCAL ROLE somagent_owner")
    await catalog.execute("CREATE FUNCTION fresh() RETURNS integer LANGUAGE sql AS 'SELECT 1'")
    await catalog.execute("SET LOCAL ROLE somagent_app")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await catalog.fetchval("SELECT fresh()")
    await transaction.rollback()


async def test_functions_with_the_owners_rights_are_listed_and_see_no_object_of_their_caller(
    catalog: "asyncpg.Connection",
) -> None:
    rows = await catalog.fetch(
        "SELECT proname, proconfig FROM pg_proc "
        "WHERE pronamespace = 'public'::regnamespace AND prosecdef AND proowner = 'somagent_owner'::regrole"
    )
    assert {row["proname"] for row in rows} == DEFINERS
    assert {tuple(row["proconfig"] or ()) for row in rows} == {("search_path=public, pg_temp",)}


async def test_no_role_makes_objects_here(catalog: "asyncpg.Connection") -> None:
    for role in ("somagent_app", "somagent_relay", "somagent_sealer"):
        may = await catalog.fetchrow(
            "SELECT has_schema_privilege($1, 'public', 'CREATE') AS makes, "
            "has_parameter_privilege($1, 'session_replication_role', 'SET') AS silences",
            role,
        )
        assert tuple(may) == (False, False), role
