"""The servers that the stack starts are the real ones, set up as the design says."""

import json

import asyncpg
import httpx
import pytest
import redis.asyncio as redis
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.client import Client

from somagent.local_stack.postgres import superuser
from somagent.local_stack.stack import SEARCH_ATTRIBUTES
from somagent.settings import Settings


def plain_url(url: str) -> str:
    return url.replace("postgresql+asyncpg://", "postgresql://", 1)


@pytest.mark.parametrize("role", ["owner", "app", "relay", "sealer"])
async def test_each_role_logs_in_with_its_password_and_no_privilege(postgres_settings: Settings, role: str):
    connection = await asyncpg.connect(plain_url(postgres_settings.database(role)))
    try:
        row = await connection.fetchrow("SELECT * FROM pg_roles WHERE rolname = current_user")
    finally:
        await connection.close()
    assert row["rolname"] == f"somagent_{role}"
    assert row["rolcanlogin"]
    refused = ("rolsuper", "rolbypassrls", "rolcreaterole", "rolcreatedb", "rolreplication")
    assert not any(row[privilege] for privilege in refused)


async def test_a_wrong_password_is_refused(postgres_settings: Settings):
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(
            host=postgres_settings.host,
            port=postgres_settings.postgres_port,
            user="somagent_app",
            password="guess",
            database="somagent",
        )


async def test_the_superuser_is_not_reachable_over_tcp(postgres_settings: Settings):
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError, match="reject"):
        await asyncpg.connect(
            host=postgres_settings.host,
            port=postgres_settings.postgres_port,
            user="postgres",
            password="",
            database="postgres",
        )


async def test_the_owner_makes_tables_with_vectors_and_the_others_make_none(postgres_settings: Settings):
    owner = await asyncpg.connect(plain_url(postgres_settings.database("owner")))
    app = await asyncpg.connect(plain_url(postgres_settings.database("app")))
    try:
        await owner.execute("CREATE TABLE probe (embedding vector(3))")
        await owner.execute("INSERT INTO probe VALUES ('[1,2,3]')")
        assert await owner.fetchval("SELECT embedding <-> '[1,2,5]' FROM probe") == 2
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await app.execute("CREATE TABLE mine (id int)")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await app.execute("SELECT * FROM probe")
    finally:
        await owner.execute("DROP TABLE IF EXISTS probe")
        await owner.close()
        await app.close()


async def test_postgres_is_version_18_and_its_data_is_durable(postgres_settings: Settings):
    async with superuser(postgres_settings) as connection:
        assert (await connection.fetchval("SHOW server_version")).startswith("18")
        assert await connection.fetchval("SHOW fsync") == "on"


def test_password_files_are_readable_by_their_user_only(postgres_settings: Settings):
    files = sorted(postgres_settings.keys_dir.glob("*.password"))
    assert [file.name for file in files] == [
        f"postgres-{role}.password" for role in ("app", "owner", "relay", "sealer")
    ]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert postgres_settings.keys_dir.stat().st_mode & 0o777 == 0o700


async def test_valkey_keeps_what_it_is_told(valkey: str):
    client = redis.from_url(valkey)
    await client.set("greeting", "hello")
    assert await client.get("greeting") == b"hello"
    assert (await client.info("server"))["server_name"] == "valkey"
    await client.aclose()


async def test_temporal_knows_our_search_attributes(temporal_address: str):
    client = await Client.connect(temporal_address)
    answer = await client.operator_service.list_search_attributes(ListSearchAttributesRequest(namespace="default"))
    kinds = {"Keyword": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD, "Bool": IndexedValueType.INDEXED_VALUE_TYPE_BOOL}
    assert {name: answer.custom_attributes.get(name) for name in SEARCH_ATTRIBUTES} == {
        name: kinds[kind] for name, kind in SEARCH_ATTRIBUTES.items()
    }


async def test_the_model_answers_within_a_schema(slm_base: str):
    schema = {
        "type": "object",
        "properties": {"color": {"enum": ["red", "blue"]}},
        "required": ["color"],
        "additionalProperties": False,
    }
    async with httpx.AsyncClient(timeout=60) as client:
        answer = await client.post(
            f"{slm_base}/chat/completions",
            json={
                "model": "smollm2-135m-instruct",
                "messages": [{"role": "user", "content": "What color is the sky?"}],
                "response_format": {"type": "json_schema", "json_schema": {"name": "color", "schema": schema}},
                "max_tokens": 32,
            },
        )
        models = await client.get(f"{slm_base}/models")
    assert answer.status_code == 200, answer.text
    written = json.loads(answer.json()["choices"][0]["message"]["content"])
    assert written in ({"color": "red"}, {"color": "blue"})
    assert answer.json()["usage"]["completion_tokens"] > 0
    assert [model["id"] for model in models.json()["data"]] == ["smollm2-135m-instruct"]
