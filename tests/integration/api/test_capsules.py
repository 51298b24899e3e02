"""Publishing and starting: what is wrong is named, and nothing is started or written because of it."""

import copy
from typing import Any

import httpx
import pytest
import yaml
from api_callers import HELLO, Callers, assert_problem, publish
from temporalio.service import RPCError

from api.deps import State
from capsules.capsule import Capsule


async def test_yaml_and_json_of_one_capsule_are_one_version(http: httpx.AsyncClient, callers: Callers) -> None:
    published = await publish(http, callers)
    again = await http.post(
        "/v1/capsules",
        content=yaml.safe_dump(HELLO),
        headers=callers.all() | {"Content-Type": "application/yaml"},
    )
    assert again.status_code == 201
    assert again.json()["digest"] == published["digest"] == Capsule.model_validate(HELLO).digest()
    assert again.headers["location"] == "/v1/capsules/hello@1.0.0"
    shown = await http.get(again.headers["location"], headers=callers.all())
    assert shown.json() == published
    listed = (await http.get("/v1/capsules", headers=callers.all())).json()
    assert [item["digest"] for item in listed["items"]] == [published["digest"]]


async def test_other_content_under_a_published_version_is_a_conflict(http: httpx.AsyncClient, callers: Callers) -> None:
    await publish(http, callers)
    changed = copy.deepcopy(HELLO)
    changed["spec"]["intent"] = "Count something else."
    answer = await http.post("/v1/capsules", json=changed, headers=callers.all())
    assert_problem(answer, 409, "Conflict", "hello@1.0.0")


async def test_every_problem_of_a_file_comes_at_once_with_its_path(http: httpx.AsyncClient, callers: Callers) -> None:
    broken = copy.deepcopy(HELLO)
    broken["metadata"]["name"] = "Not A Name"
    broken["spec"]["guardrails"]["max_steps"] = 0
    broken["spec"]["colour"] = "blue"
    for path in ("/v1/capsules", "/v1/capsules/validate"):
        problem = assert_problem(await http.post(path, json=broken, headers=callers.all()), 422, "Invalid")
        paths = {p["path"] for p in problem["problems"]}
        assert {"metadata.name", "spec.guardrails.max_steps", "spec.colour"} <= paths
    text = "apiVersion: somagent/v1\nkind: Capsule\nmetadata: {name: [}\n"
    headers = callers.all() | {"Content-Type": "application/yaml"}
    answer = await http.post("/v1/capsules", content=text, headers=headers)
    assert assert_problem(answer, 422, "Invalid", "YAML")["problems"][0]["line"] == 3
    assert_problem(await http.post("/v1/capsules", content=b"\xff\xfe", headers=headers), 422, "Invalid", "UTF-8")
    assert (await http.get("/v1/capsules", headers=callers.all())).json()["items"] == []


async def test_an_unknown_tool_is_named(http: httpx.AsyncClient, callers: Callers) -> None:
    broken = copy.deepcopy(HELLO)
    broken["spec"]["tools"] = [{"use": "hammer@1", "actions": ["run"]}]
    broken["spec"]["steps"][0]["use"] = "hammer/run"
    assert_problem(await http.post("/v1/capsules", json=broken, headers=callers.all()), 422, "Invalid", "hammer")


async def test_the_schema_of_capsule_files_is_public(http: httpx.AsyncClient) -> None:
    schema = (await http.get("/v1/schemas/capsule.json")).json()
    assert schema["properties"].keys() >= {"apiVersion", "kind", "metadata", "spec"}


async def start(http: httpx.AsyncClient, callers: Callers, inputs: Any, key: str | None = None) -> httpx.Response:
    headers = callers.all() | ({"Idempotency-Key": key} if key else {})
    return await http.post("/v1/capsules/hello/runs", json={"inputs": inputs}, headers=headers)


async def test_a_start_is_entered_and_reaches_temporal_once(
    http: httpx.AsyncClient, callers: Callers, state: State, tenant: str
) -> None:
    await publish(http, callers)
    first = await start(http, callers, {"text": "one two"}, "k1")
    again = await start(http, callers, {"text": "one two"}, "k1")
    assert (first.status_code, again.status_code) == (202, 200)
    assert first.json()["id"] == again.json()["id"] == f"{tenant}/hello/k1"
    assert first.headers["location"] == f"/v1/runs/{tenant}~hello~k1"
    described = await state.temporal.get_workflow_handle(f"{tenant}/hello/k1").describe()
    assert (described.workflow_type, described.task_queue) == ("RunCapsule", "capsules")
    shown = await http.get(first.headers["location"], headers=callers.all())
    escaped = await http.get(f"/v1/runs/{tenant}%2Fhello%2Fk1", headers=callers.all())
    assert shown.json() == escaped.json()
    assert shown.json()["inputs"] == {"text": "one two"}


async def test_a_key_that_was_used_for_something_else_is_a_conflict(http: httpx.AsyncClient, callers: Callers) -> None:
    await publish(http, callers)
    assert (await start(http, callers, {"text": "one"}, "k1")).status_code == 202
    assert_problem(await start(http, callers, {"text": "two"}, "k1"), 409, "Conflict", "/hello/k1")
    bob = callers.all("bob") | {"Idempotency-Key": "k1"}
    ridden = await http.post("/v1/capsules/hello/runs", json={"inputs": {"text": "one"}}, headers=bob)
    assert_problem(ridden, 409, "Conflict", "/hello/k1")


async def test_inputs_that_break_the_schema_name_each_field_and_start_nothing(
    http: httpx.AsyncClient, callers: Callers, state: State, tenant: str
) -> None:
    await publish(http, callers)
    problem = assert_problem(await start(http, callers, {"times": 0, "colour": 1}, "bad"), 422, "Invalid")
    assert {p["path"] for p in problem["problems"]} == {"inputs", "inputs.text", "inputs.times"}
    assert (await http.get("/v1/runs", headers=callers.all())).json()["items"] == []
    assert_problem(await http.get(f"/v1/runs/{tenant}~hello~bad", headers=callers.all()), 404, "NotFound")
    with pytest.raises(RPCError, match="not found"):
        await state.temporal.get_workflow_handle(f"{tenant}/hello/bad").describe()


async def test_a_capsule_row_that_was_tampered_with_starts_nothing(
    http: httpx.AsyncClient, callers: Callers, state: State, tenant: str
) -> None:
    capsule = Capsule.model_validate(HELLO)
    async with state.db.transaction(tenant) as tx:  # entered past the API, with a signature that is not ours
        await tx.capsules.publish(capsule, digest=capsule.digest(), signature="AAAA", key_id="publisher-1", by="eve")
    problem = assert_problem(await start(http, callers, {"text": "x"}), 422, "TamperedContent", "hello@1.0.0")
    assert problem["fields"] == {"ref": "hello@1.0.0"}
    assert (await http.get("/v1/runs", headers=callers.all())).json()["items"] == []


async def test_lists_go_on_where_the_cursor_says(http: httpx.AsyncClient, callers: Callers) -> None:
    await publish(http, callers)
    for number in range(5):
        assert (await start(http, callers, {"text": "x"}, f"k{number}")).status_code == 202
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(3):
        query = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = (await http.get("/v1/runs", params=query, headers=callers.all())).json()
        seen += [item["id"].rpartition("/")[2] for item in page["items"]]
        cursor = page["next"]
    assert seen == ["k4", "k3", "k2", "k1", "k0"]
    assert cursor is None
    for bad in ("nonsense", "e30", "WzEsMl0"):
        answer = await http.get("/v1/runs", params={"cursor": bad}, headers=callers.all())
        assert_problem(answer, 422, "Invalid", "cursor")
    filtered = await http.get("/v1/runs", params={"status": "completed"}, headers=callers.all())
    assert filtered.json()["items"] == []
    assert_problem(
        await http.get("/v1/runs", params={"status": "sleeping"}, headers=callers.all()), 422, "Invalid", "query.status"
    )
