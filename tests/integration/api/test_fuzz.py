"""The API against its own OpenAPI document: whatever is sent, only declared statuses and content types come back."""

import asyncio
from typing import Any

import httpx
import pytest
import schemathesis
from api_callers import Callers, publish
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.app import create_app
from api.deps import State
from capsules.constitutions.constitution import ConstitutionRecord

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXAMPLES = 3 if settings.get_current_profile_name() == "gate" else 25
"""Of each operation as it should be, as it should not be, and on things that exist; its documented examples are sent
besides. Which cases Hypothesis draws depends on the constants of every module that is loaded, so the same seed draws
others in the whole suite than alone: a route that must be seen to answer has an example in its document."""
# The stream of an open run does not end; its statuses are tested with the stream. /ready says 503 when it is not.
SKIPPED = {"/v1/runs/{run}/events", "/v1/ready"}
# These ask a worker, which this test has none of: on a run that exists they would only wait.
ASK_A_WORKER = ("/state", "/pause", "/resume", "/cancel", "/messages", "/raise", "/arguments")
Mode = schemathesis.GenerationMode


class Fuzz:
    """Sends cases of one operation after another and keeps what failed."""

    def __init__(self, base: str, headers: dict[str, str], known: dict[str, str]) -> None:
        self.failed: list[str] = []
        self._base = base
        self._headers = headers
        self._known = known

    def all_of(self, operation: schemathesis.APIOperation) -> None:
        valid = operation.as_strategy(generation_mode=Mode.POSITIVE)
        self._fuzz(operation, "valid", valid, {})
        for number, documented in enumerate(operation.get_strategies_from_examples()):
            self._fuzz(operation, f"example {number}", documented, {}, at_most=1)
        if any((operation.path_parameters, operation.query, operation.headers, operation.body)):
            self._fuzz(operation, "invalid", operation.as_strategy(generation_mode=Mode.NEGATIVE), {})
        existing = {p.name: self._known[p.name] for p in operation.path_parameters if p.name in self._known}
        by_schedule = operation.path.startswith("/v1/schedules/")
        if existing and (by_schedule or not operation.path.endswith(ASK_A_WORKER)):
            self._fuzz(operation, "valid", valid, existing)

    def _fuzz(
        self,
        operation: schemathesis.APIOperation,
        kind: str,
        cases: SearchStrategy[schemathesis.Case],
        existing: dict[str, str],
        at_most: int = EXAMPLES,
    ) -> None:
        @settings(
            max_examples=at_most,
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=cases)
        def one(case: schemathesis.Case) -> None:
            case.path_parameters = case.path_parameters | existing
            case.call_and_validate(base_url=self._base, headers=self._headers, checks=CHECKS)

        try:
            one()
        except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001 - every failure is wanted, not only the first
            self.failed.append(f"{operation.label} ({kind}, {existing}): {error}")


async def create_resources(http: httpx.AsyncClient, callers: Callers) -> dict[str, str]:
    """Make one of each thing that has an id, and return the path parameters that name it."""
    await publish(http, callers)
    headers = callers.all("fuzz") | {"Idempotency-Key": "fuzz"}
    run = await http.post("/v1/capsules/hello/runs", json={"inputs": {"text": "a"}}, headers=headers)
    assert run.status_code == 202
    body: dict[str, Any] = {"name": "fuzz", "capsule": "hello", "every": "1d", "inputs": {"text": "a"}}
    assert (await http.post("/v1/schedules", json=body, headers=headers)).status_code == 201
    active = (await http.get("/v1/constitution", headers=headers)).json()["digest"]
    assert (await http.post("/v1/constitutions", json={"digest": active}, headers=headers)).status_code == 202
    constitution = {"digest": active, "activation": "fuzz"}
    return constitution | {"ref": "hello@1", "run": run.headers["location"].rpartition("/")[2], "name": "fuzz"}


@pytest.mark.property
@pytest.mark.timeout(600)
async def test_only_what_is_declared_comes_back(
    http: httpx.AsyncClient, base: str, state: State, callers: Callers, constitution: ConstitutionRecord
) -> None:
    schema = schemathesis.openapi.from_dict(create_app(state).openapi())
    operations = [o.ok() for o in schema.get_all_operations() if o.ok().path not in SKIPPED]
    assert len(operations) > 30
    fuzz = Fuzz(base, callers.all("fuzz"), await create_resources(http, callers))
    # Deletion comes last, so that there is something to show before.
    for operation in sorted(operations, key=lambda o: o.method == "delete"):
        # The API runs in this thread's loop; schemathesis calls it from another, over its real socket.
        await asyncio.to_thread(fuzz.all_of, operation)
    assert not fuzz.failed, "\n\n".join(fuzz.failed)
    counted = [sample.labels for family in state.metrics.requests.collect() for sample in family.samples]
    answered = {(labels["method"], labels["route"]) for labels in counted if int(labels["status"]) < 300}
    for reached in (
        ("POST", "/v1/policy/dry-run"),
        ("GET", "/v1/runs/{run}"),
        ("GET", "/v1/capsules/{ref}"),
        ("POST", "/v1/schedules/{name}/trigger"),
        ("GET", "/v1/constitutions/{digest}"),
        ("GET", "/v1/constitutions/activations/{activation}"),
    ):
        assert reached in answered, f"no case got through {reached}"
