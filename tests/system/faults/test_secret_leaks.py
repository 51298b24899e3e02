"""A secret in a run's inputs is nowhere in clear text but where it belongs: the tenant's own rows."""

import base64
import json
import secrets
from pathlib import Path
from typing import Any

import pytest
from capsule_texts import thinker, utility
from chaos import query_rows
from google.protobuf.json_format import MessageToDict
from outages import with_model
from platforms import Platform
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionRequest, GetWorkflowExecutionHistoryRequest
from temporalio.client import Client

ECHOES = 'import json; print(json.dumps({"said": json.load(open("input.json"))["secret"]}))'
FAILS = 'import json; raise SystemExit("bad secret: " + json.load(open("input.json"))["secret"])'
ASKS = '[{id: choose, think: "Which colour has ${{ inputs.secret }}?"}]'


@pytest.fixture
def canary() -> str:
    return f"canary-{secrets.token_hex(12)}"


async def test_a_secret_is_in_no_history_and_no_log(stack: Platform, canary: str) -> None:
    inputs = {"secret": canary}
    async with with_model(stack.settings):
        ended = [
            await stack.run(await stack.publish(utility("echoes", ECHOES)), inputs),
            await stack.run(await stack.publish(utility("fails", FAILS)), inputs),
            await stack.run(await stack.publish(thinker("asks", steps=ASKS)), inputs),
        ]
    assert [run["status"] for run in ended] == ["completed", "failed", "completed"]
    assert ended[0]["output"] == {"said": canary}
    reader = await Client.connect(stack.settings.temporal_target(), namespace=stack.settings.temporal_namespace)
    for run in ended:
        exported = _decoded(await _exported(reader, run["id"]))
        assert "binary/encrypted" in exported
        assert canary not in exported, f"{run['id']} tells its secret to whoever reads Temporal"
    for log in _logs(stack.settings.home):
        assert canary not in log.read_text(errors="replace"), f"{log} holds the secret"


async def test_a_secret_is_in_no_event_that_leaves_the_database(stack: Platform, canary: str) -> None:
    await stack.run(await stack.publish(utility("echoes", ECHOES)), {"secret": canary})
    assert await query_rows(stack.settings, "SELECT type FROM outbox WHERE data::text LIKE $1", f"%{canary}%") == []
    assert (
        await query_rows(stack.settings, "SELECT run, seq FROM receipts WHERE body::text LIKE $1", f"%{canary}%") == []
    )


async def _exported(client: Client, run: str) -> str:
    """Return all that Temporal holds of a run, as it would be exported: history, memo, search attributes, pending."""
    execution = WorkflowExecution(workflow_id=run)
    service, namespace = client.workflow_service, client.namespace
    described = await service.describe_workflow_execution(
        DescribeWorkflowExecutionRequest(namespace=namespace, execution=execution)
    )
    history: list[Any] = []
    token = b""
    while True:
        page = await service.get_workflow_execution_history(
            GetWorkflowExecutionHistoryRequest(namespace=namespace, execution=execution, next_page_token=token)
        )
        history += [MessageToDict(event) for event in page.history.events]
        token = page.next_page_token
        if not token:
            return json.dumps({"described": MessageToDict(described), "history": history}, ensure_ascii=False)


def _decoded(exported: str) -> str:
    """Return the export followed by every payload's bytes: JSON holds them in base64."""
    found: list[str] = [exported]

    def walk(value: Any) -> None:
        match value:
            case dict():
                for part in value.values():
                    walk(part)
            case list():
                for part in value:
                    walk(part)
            case str():
                try:
                    found.append(base64.b64decode(value, validate=True).decode(errors="replace"))
                except ValueError:
                    return

    walk(json.loads(exported))
    return "\n".join(found)


def _logs(home: Path) -> list[Path]:
    logs = [path for path in home.rglob("*") if path.is_file() and (path.suffix == ".log" or "logs" in path.parts)]
    assert len(logs) >= 8, logs
    return logs
