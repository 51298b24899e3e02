"""Constitutions at rest: encrypted, bound to their digests, added to only, and by nobody but through four functions."""

import datetime as dt
from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest
from constitutions import activate_document, default, key_ring
from databases import Url, own_database
from decisions import attest_proposal, attest_vote
from sqlalchemy import text

from capsules.constitutions.proposal import Change
from capsules.errors import Conflict, ConstitutionRefused, Denied, Invalid, NotFound
from somagent.db.database import Database, open_database
from somagent.db.gate.ledger import PostgresLedger
from somagent.identity.keys import KeyRing
from somagent.local_stack.bootstrap import activate_first, sign_constitution
from somagent.local_stack.postgres import superuser
from somagent.settings import Settings
from workers.bootstrap import prove_shipped

NAME = "constitutions_at_rest"


@pytest.fixture(scope="module")
async def keyring(postgres_settings: Settings) -> KeyRing:
    return KeyRing.create_missing(postgres_settings.keys_dir)


@pytest.fixture(scope="module")
async def url(postgres_settings: Settings, template: str) -> AsyncIterator[Url]:
    """A migrated database of its own, in which nothing is active yet."""
    async with own_database(postgres_settings, NAME, template=template) as made:
        yield made


@pytest.fixture(scope="module")
async def own(postgres_settings: Settings, url: Url) -> AsyncIterator[Database]:
    async with open_database(url("owner"), keys=key_ring(postgres_settings)) as db:
        await db.tenants.add("acme")
        yield db


@pytest.fixture(scope="module")
async def app(postgres_settings: Settings, url: Url, own: Database) -> AsyncIterator[Database]:
    async with open_database(url("app"), keys=key_ring(postgres_settings)) as db:
        yield db


async def test_while_none_is_active_nothing_may_run(app: Database) -> None:
    with pytest.raises(ConstitutionRefused, match="No constitution is active"):
        await PostgresLedger(app).active_constitution("acme")
    with pytest.raises(ConstitutionRefused, match="No constitution is active"):
        await app.constitutions.active("acme")


async def test_a_first_constitution_that_is_refuted_is_not_activated_and_its_counterexample_is_shown(
    app: Database, own: Database, keyring: KeyRing
) -> None:
    document = default("0.0.1")
    document["articles"] = [a for a in document["articles"] if a["id"] != "no-secret-egress"]
    record = sign_constitution(keyring, document)
    with pytest.raises(ConstitutionRefused, match=r"secrets-stay is refuted.*Counterexample: .*\"data\":\"secret\""):
        await activate_first(own, record, prove_shipped(document, record.digest))
    assert await app.constitutions.active_digest() is None


async def test_a_document_is_encrypted_at_rest_and_read_back_with_both_digests(
    app: Database, own: Database, keyring: KeyRing
) -> None:
    record = await activate_document(own, keyring, default("1.0.0"))
    read = await app.constitutions.active("acme")
    assert (read.document, read.digest, read.signatures) == (record.document, record.digest, record.signatures)
    assert len(read.sha3_512) == len("sha3-512:") + 128
    async with app.pool.acquire() as connection:
        sealed = await connection.fetchval("SELECT sealed FROM constitutions WHERE digest = $1", record.digest)
    assert b"no-secret-egress" not in sealed
    assert b"threshold" not in sealed


async def test_what_was_altered_in_the_database_is_not_read(
    app: Database, own: Database, keyring: KeyRing, postgres_settings: Settings
) -> None:
    one = await activate_document(own, keyring, default("2.0.0"), scope="acme")
    other = await activate_document(own, keyring, default("2.0.1"), scope="acme")
    changes = {
        "a byte": "sealed = set_byte(sealed, 40, get_byte(sealed, 40) # 1)",
        "another document": f"sealed = (SELECT sealed FROM constitutions WHERE digest = '{other.digest}')",
        "the other digest": "sha3_512 = 'sha3-512:0'",
    }
    for what, change in changes.items():
        async with superuser(postgres_settings, database=NAME) as connection:
            was = await connection.fetchrow("SELECT sealed, sha3_512 FROM constitutions WHERE digest = $1", one.digest)
            await connection.execute(f"UPDATE constitutions SET {change} WHERE digest = $1", one.digest)
            with pytest.raises(ConstitutionRefused, match="was altered"):
                pytest.fail(f"{what}: {await app.constitutions.get(one.digest)}")
            restored = "UPDATE constitutions SET sealed = $2, sha3_512 = $3 WHERE digest = $1"
            await connection.execute(restored, one.digest, was["sealed"], was["sha3_512"])
    assert (await app.constitutions.get(one.digest)).digest == one.digest


async def test_without_its_codec_key_a_constitution_is_refused_by_the_keys_name(
    url: Url, app: Database, own: Database, keyring: KeyRing, tmp_path
) -> None:
    record = await activate_document(own, keyring, default("1.0.0"))
    other = KeyRing.create_missing(tmp_path / "keys")
    async with open_database(url("app"), keys=replace(other, codec={"codec-7": list(other.codec.values())[-1]})) as db:
        with pytest.raises(ConstitutionRefused, match=r"codec key 'codec-1', which is not here. Known: codec-7"):
            await db.constitutions.get(record.digest)


async def test_the_application_cannot_write_past_the_functions(app: Database, own: Database, keyring: KeyRing) -> None:
    await activate_document(own, keyring, default("1.0.0"))
    for statement in (
        "UPDATE constitutions SET state = 'installed'",
        "INSERT INTO constitution_activations (scope, stage, digest, reason, by) SELECT '*', 'active', digest, 'x', 'x' FROM constitutions",
        "INSERT INTO constitution_signatures (digest, key_id, signature) SELECT digest, 'k', 's' FROM constitutions",
        "DELETE FROM constitution_activations",
    ):
        async with app.pool.acquire() as connection:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    for statement in ("DELETE FROM constitution_activations", "UPDATE constitution_signatures SET signature = ''"):
        async with own.pool.acquire() as connection:
            with pytest.raises(asyncpg.PostgresError, match="never changed or deleted"):
                await connection.execute(statement)


async def test_only_an_approved_proposal_is_activated_and_its_proposer_cannot_agree(
    app: Database, own: Database, keyring: KeyRing
) -> None:
    record = sign_constitution(keyring, default("3.0.0"))
    await app.constitutions.install(record)
    change = Change(constitution=record.digest, scope="acme")
    until = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    token = attest_proposal(app, "acme", "p1", change, quorum=2)
    async with app.transaction("acme") as tx:
        await tx.proposals.enter(
            "p1", change, request=change.digest(), by="ada", quorum=2, expires_at=until, token=token
        )
        await tx.proposals.update("p1", since=await app.constitutions.newest_activation(), state="awaiting_approval")
    with pytest.raises(Conflict, match="is awaiting_approval; only an approved one is activated"):
        await _activate(app, "p1")
    vote = attest_vote(app, "acme", "p1", change, by="ada")
    async with app.transaction("acme") as tx:
        with pytest.raises(Denied, match="Separation of duties"):
            await tx.proposals.record_vote("p1", approve=True, by="ada", token=vote, comment="")
    # Nor by writing it: the table itself holds who may agree, and how many must.
    for statement in (
        "UPDATE constitution_proposals SET approved_by = '{ada}'",
        "UPDATE constitution_proposals SET state = 'approved', approved_by = '{bob}'",
    ):
        with pytest.raises(Invalid, match="violates check constraint"):
            async with app.transaction("acme") as tx:
                await tx.connection.execute(text(statement))
    for who, state in (("bob", "awaiting_approval"), ("bob", "awaiting_approval"), ("cyd", "approved")):
        async with app.transaction("acme") as tx:
            vote = attest_vote(app, "acme", "p1", change, by=who)
            known = await tx.proposals.record_vote("p1", approve=True, by=who, token=vote, comment="")
            assert known.state == state
    await _activate(app, "p1")
    await _activate(app, "p1")
    assert (await app.constitutions.active("acme")).digest == record.digest
    assert len(await app.constitutions.history("acme", of=record.digest)) == 1
    with pytest.raises(NotFound):
        await _activate(app, "p2")


async def _activate(app: Database, proposal: str) -> None:
    async with app.transaction("acme") as tx:
        await tx.proposals.activate(proposal)


async def test_signatures_are_added_and_a_wrong_one_keeps_no_right_one_out(app: Database, keyring: KeyRing) -> None:
    record = sign_constitution(keyring, default("4.0.0"))
    [good] = record.signatures
    wrong = good.model_copy(update={"signature": "d3Jvbmc="})
    await app.constitutions.install(record.model_copy(update={"signatures": (wrong,)}))
    await app.constitutions.install(record)
    await app.constitutions.install(record)
    assert {s.signature for s in (await app.constitutions.get(record.digest)).signatures} == {
        good.signature,
        wrong.signature,
    }
