"""Retention and legal holds by the API: who may, what is refused, what is shown."""

import httpx
from api_callers import Callers, assert_problem


async def test_terms_and_holds_are_set_shown_and_lifted(http: httpx.AsyncClient, callers: Callers) -> None:
    first = (await http.get("/v1/retention", headers=callers.all())).json()
    assert first == {
        "terms": {"content_days": None, "memory_days": None},
        "due": {"runs": 0, "blobs": 0, "memories": 0},
    }
    set_ = await http.put("/v1/retention", json={"content_days": 90}, headers=callers.all(subject="rosa"))
    assert set_.json()["terms"] == {"content_days": 90, "memory_days": None}
    body = {"scope": "capsule:word-count", "reason": "Case 7"}
    placed = await http.post("/v1/retention/holds", json=body, headers=callers.all(subject="rosa"))
    assert placed.status_code == 201, placed.text
    hold = placed.json()
    assert placed.headers["location"] == f"/v1/retention/holds/{hold['id']}"
    lifted = await http.delete(f"/v1/retention/holds/{hold['id']}", headers=callers.all(subject="olga"))
    assert (lifted.json()["placed_by"], lifted.json()["lifted_by"]) == ("rosa", "olga")
    again = await http.delete(f"/v1/retention/holds/{hold['id']}", headers=callers.all())
    assert_problem(again, 409, "Conflict", "lifted before")
    unknown = await http.delete("/v1/retention/holds/0123456789ab", headers=callers.all())
    assert_problem(unknown, 404, "NotFound", "0123456789ab")
    listed = (await http.get("/v1/retention/holds", headers=callers.all())).json()["items"]
    assert [one["id"] for one in listed] == [hold["id"]]
    entries = (await http.get("/v1/audit/entries", params={"limit": 50}, headers=callers.all())).json()["items"]
    said = [(one["action"], one["actor"]) for one in entries]
    assert {("retention.set", "rosa"), ("hold.placed", "rosa"), ("hold.lifted", "olga")} <= set(said)


async def test_what_is_no_retention_and_no_hold_is_refused_with_the_field(
    http: httpx.AsyncClient, callers: Callers
) -> None:
    for body, field in (({"content_days": 0}, "content_days"), ({"memory_days": 1.5}, "memory_days"), ({"x": 1}, "x")):
        assert_problem(await http.put("/v1/retention", json=body, headers=callers.all()), 422, "Invalid", field)
    for body in ({"scope": "everything", "reason": "x"}, {"scope": "run:", "reason": "x"}, {"scope": "tenant"}):
        assert_problem(await http.post("/v1/retention/holds", json=body, headers=callers.all()), 422, "Invalid")


async def test_who_runs_deletes_no_traces(http: httpx.AsyncClient, callers: Callers) -> None:
    without = callers.without("retention:manage")
    assert_problem(
        await http.put("/v1/retention", json={"content_days": 1}, headers=without), 403, "Denied", "retention:manage"
    )
    body = {"scope": "tenant", "reason": "x"}
    assert_problem(await http.post("/v1/retention/holds", json=body, headers=without), 403, "Denied")
    assert (await http.get("/v1/retention", headers=without)).status_code == 200
