"""Limits and malformed requests: refused early, told plainly, and no 500 whatever comes."""

import httpx
import pytest
from api_callers import HELLO, Callers, assert_problem, publish
from servers import running, settings_in

from api.app import create_app
from api.deps import State
from api.middleware.request_rates import RequestRates


@pytest.fixture
async def strict_api(state: State) -> httpx.AsyncClient:
    """The same API with a small body and three requests a minute."""
    settings = state.settings.model_copy(update={"max_body_bytes": 2048, "rate_limit_per_minute": 3})
    rates = RequestRates(settings.redis_target(), per_minute=3)
    app = create_app(State(**{**vars(state), "settings": settings, "rates": rates}))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")


async def test_the_fourth_request_of_a_minute_waits_and_another_principal_does_not(
    strict_api: httpx.AsyncClient, callers: Callers
) -> None:
    for _ in range(3):
        assert (await strict_api.get("/v1/principals/self", headers=callers.all())).status_code == 200
    refused = await strict_api.get("/v1/principals/self", headers=callers.all())
    assert_problem(refused, 429, "RateLimited", "More than 3")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert (await strict_api.get("/v1/principals/self", headers=callers.all("bob"))).status_code == 200


async def test_an_oversize_body_is_refused_announced_or_not(strict_api: httpx.AsyncClient, callers: Callers) -> None:
    big = b'{"subject": "' + b"x" * 4000 + b'"}'

    async def chunks():
        for start in range(0, len(big), 500):
            yield big[start : start + 500]

    for content in (big, chunks()):
        answer = await strict_api.post("/v1/principals", content=content, headers=callers.all("cat"))
        assert_problem(answer, 413, "TooLarge", "2048")


async def test_without_valkey_each_process_counts_and_says_so(state: State, tmp_path_factory) -> None:
    settings = settings_in(tmp_path_factory.mktemp("rates"))
    rates = RequestRates(settings.redis_target(), per_minute=2)
    app = create_app(State(**{**vars(state), "rates": rates}))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        answers = [await client.get("/health") for _ in range(3)]
        assert [a.status_code for a in answers] == [200, 200, 429]
        assert "per process" in answers[0].json()["degraded"][0]
        async with running(settings, "valkey"):
            rates._retry_at = 0.0
            assert (await client.get("/health")).json() == {"status": "ok", "degraded": []}


async def test_liveness_readiness_and_metrics_tell_what_is(http: httpx.AsyncClient) -> None:
    assert (await http.get("/v1/health")).json() == {"status": "ok", "degraded": []}
    ready = await http.get("/ready")
    parts = ready.json()["parts"]
    assert ready.status_code == 200
    assert {name: part["ok"] for name, part in parts.items()} | {"model": None} == {
        "postgres": True,
        "temporal": True,
        "valkey": True,
        "model": None,
    }
    text = (await http.get("/metrics")).text
    assert 'somagent_http_requests_total{method="GET",route="/v1/health",status="200"}' in text


async def test_what_is_no_route_or_method_is_a_problem_document(http: httpx.AsyncClient) -> None:
    assert_problem(await http.get("/v1/nowhere"), 404, "NotFound")
    wrong = await http.put("/v1/runs")
    assert_problem(wrong, 405, "MethodNotAllowed")
    assert "GET" in wrong.headers["allow"]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ('{"inputs": {"text": "a\\u0000b"}}', "NUL"),
        ('{"inputs": {"text": "\\ud800"}}', "cannot be kept"),
        ('{"inputs": {"times": 90071992547409930}}', "cannot be kept"),
        ('{"inputs": {"times": NaN}}', "cannot be kept"),
        ('{"inputs": {"text": ' + "[" * 100_000 + "]" * 100_000 + "}}", "deep"),
        ('{"inputs": ', "body"),
        ('{"input": {}}', "body.input"),
        ("[]", "body"),
        ("", "body"),
    ],
)
async def test_a_body_that_cannot_be_kept_is_refused(
    http: httpx.AsyncClient, callers: Callers, body: str, named: str
) -> None:
    await publish(http, callers, HELLO)
    headers = callers.all() | {"Content-Type": "application/json"}
    assert_problem(await http.post("/v1/capsules/hello/runs", content=body, headers=headers), 422, "Invalid", named)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/runs/{tenant}~hello~nothing", 404),
        ("GET", "/v1/runs/not-a-handle", 404),
        ("GET", "/v1/runs/{tenant}~hello~nothing/events", 404),
        ("GET", "/v1/capsules/unknown", 404),
        ("GET", "/v1/capsules/Unknown@x", 422),
        ("GET", "/v1/approvals/unknown", 404),
        ("POST", "/v1/approvals/unknown/approve", 404),
        ("POST", "/v1/approvals/unknown/deny", 404),
        ("GET", "/v1/schedules/unknown", 404),
        ("POST", "/v1/schedules/unknown/trigger", 404),
        ("DELETE", "/v1/schedules/unknown", 404),
        ("GET", "/v1/budgets/runs/{tenant}~hello~nothing", 404),
        ("GET", "/v1/artifacts/sha256:" + "0" * 64, 404),
        ("GET", "/v1/artifacts/md5:1", 422),
    ],
)
async def test_unknown_ids_are_named(  # noqa: PLR0917 - fixtures and parameters
    http: httpx.AsyncClient, callers: Callers, tenant: str, method: str, path: str, status: int
) -> None:
    answer = await http.request(method, path.format(tenant=tenant), headers=callers.all())
    problem = assert_problem(answer, status, "NotFound" if status == 404 else "Invalid")
    if status == 404 and "sha256" not in path:
        assert any(name in problem["detail"] for name in ("unknown", "nothing", "not-a-handle"))
