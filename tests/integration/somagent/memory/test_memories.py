"""The contract of `capsules.memory.items.Memories`, on PostgreSQL with pgvector."""

import itertools

import pytest
from sqlalchemy import insert, text

from capsules.errors import Invalid, Unavailable
from somagent.db.database import Database, open_database
from somagent.db.schema.tables import memories as table
from somagent.memory.embedder import MiniLmEmbedder
from somagent.memory.pgvector import PostgresMemories
from somagent.settings import Settings

keys = itertools.count(1)


async def remember(
    memories: PostgresMemories, tenant: str, words: str, *, key: str = "", space: str = "default"
) -> str:
    return await memories.remember(
        tenant,
        run=f"{tenant}/word-count/1",
        key=key or f"key-{next(keys)}",
        space=space,
        text=words,
        labels={"capsule": "word-count"},
    )


async def test_the_most_similar_comes_first(memories: PostgresMemories, tenant: str):
    await remember(memories, tenant, "The disk of the mail server is full.")
    near = await remember(memories, tenant, "Customers cannot log in since the password change.")
    await remember(memories, tenant, "The cafeteria closes at two.")
    found = await memories.recall(tenant, space="default", query="users are unable to sign in", limit=2)
    assert found[0].id == near
    assert len(found) == 2
    assert found[0].score > found[1].score
    assert found[0].run == f"{tenant}/word-count/1"
    assert found[0].labels == {"capsule": "word-count"}


async def test_the_same_key_twice_is_one_item(memories: PostgresMemories, tenant: str):
    first = await remember(memories, tenant, "once", key="effect-1")
    assert await remember(memories, tenant, "once again", key="effect-1") == first
    [only] = await memories.recall(tenant, space="default", query="once", limit=10)
    assert (only.id, only.text) == (first, "once")


async def test_spaces_are_apart(memories: PostgresMemories, tenant: str):
    await remember(memories, tenant, "in the other space", space="other")
    assert await memories.recall(tenant, space="default", query="in the other space", limit=5) == ()


async def test_a_tenant_never_sees_anothers(memories: PostgresMemories, owner: Database, tenant: str):
    other = f"{tenant}-other"
    await owner.tenants.add(other)
    await remember(memories, tenant, "our secret recipe", key="same-key")
    theirs = await remember(memories, other, "their public menu", key="same-key")
    [found] = await memories.recall(other, space="default", query="our secret recipe", limit=10)
    assert found.id == theirs
    assert found.text == "their public menu"


async def test_row_level_security_holds_where_a_query_forgets_the_tenant(
    memories: PostgresMemories, db: Database, owner: Database, tenant: str, embedder: MiniLmEmbedder
):
    other = f"{tenant}-forgetful"
    await owner.tenants.add(other)
    await remember(memories, tenant, "ours")
    async with db.transaction(other) as tx:
        assert await tx.connection.scalar(text("SELECT count(*) FROM memories")) == 0
    [vector] = (await embedder.embed(("forged",))).vectors
    row = {
        "id": "f",
        "space": "default",
        "text": "forged",
        "labels": {},
        "run": "r",
        "key": "f",
        "embedding": list(vector),
    }
    with pytest.raises(Exception, match="row-level security"):
        async with db.transaction(other) as tx:
            await tx.connection.execute(insert(table).values(tenant_id=tenant, **row))


async def test_a_small_tenant_finds_its_own_among_many_of_anothers(
    memories: PostgresMemories, db: Database, owner: Database, tenant: str, embedder: MiniLmEmbedder
):
    crowd = f"{tenant}-crowd"
    await owner.tenants.add(crowd)
    [vector] = (await embedder.embed(("a line of the log",))).vectors
    rows = [
        {
            "tenant_id": crowd,
            "id": f"m{n}",
            "space": "default",
            "text": "a line of the log",
            "labels": {},
            "run": "r",
            "key": f"k{n}",
            "embedding": list(vector),
        }
        for n in range(300)
    ]
    async with db.transaction(crowd) as tx:
        await tx.connection.execute(insert(table), rows)
    for n in range(3):
        await remember(memories, tenant, f"a remark about bread number {n}")
    assert len(await memories.recall(tenant, space="default", query="a line of the log", limit=5)) == 3


async def test_eight_kilobytes_come_back_whole(memories: PostgresMemories, tenant: str):
    long = ("Zürich \N{SNOWMAN} " * 900)[:8192]
    await remember(memories, tenant, long)
    [found] = await memories.recall(tenant, space="default", query=long, limit=1)
    assert found.text == long
    assert found.score > 0.99


async def test_a_text_that_the_database_cannot_hold_is_invalid(memories: PostgresMemories, tenant: str):
    with pytest.raises(Invalid, match="NUL"):
        await remember(memories, tenant, "a\0b")


async def test_a_database_that_is_gone_is_unavailable(postgres_settings: Settings, embedder: MiniLmEmbedder):
    url = postgres_settings.database("app").replace(f":{postgres_settings.postgres_port}/", ":1/")
    async with open_database(url) as db:
        with pytest.raises(Unavailable):
            await PostgresMemories(db, embedder).recall("t", space="default", query="q", limit=1)
