"""What Prometheus reads from the API: names, types and labels are a contract with dashboards and alerts."""

import httpx
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from api.middleware.metrics import Metrics, RequestMetrics

TYPES = {
    "somagent_http_requests": "counter",
    "somagent_http_request_seconds": "histogram",
    "somagent_rate_limited": "counter",
    "somagent_rate_window_degraded": "counter",
    "somagent_event_streams": "gauge",
    "somagent_policy_work": "counter",
    "somagent_policy_work_seconds": "counter",
    "somagent_policy_work_refused": "counter",
}


def read_samples(metrics: Metrics) -> dict[tuple[str, tuple[str, ...]], float]:
    families = text_string_to_metric_families(metrics.text())
    return {(s.name, tuple(s.labels.values())): s.value for family in families for s in family.samples}


def test_the_names_and_types_are_these() -> None:
    families = {family.name: family.type for family in text_string_to_metric_families(Metrics().text())}
    # The library adds to each counter when it began to count.
    assert {name: kind for name, kind in families.items() if not name.endswith("_created")} == TYPES


async def test_an_answer_is_counted_under_its_route_and_in_no_other_registry() -> None:
    routes = FastAPI()
    routes.put("/a/{name}", status_code=201)(lambda name: name)
    metrics, other = Metrics(), Metrics()
    app = RequestMetrics(routes, metrics=metrics)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        await client.put("/a/secret")
        await client.put("/a/another")
        await client.request("BREW", "/nowhere")
    found = read_samples(metrics)
    counted = {labels: value for (name, labels), value in found.items() if name == "somagent_http_requests_total"}
    assert counted == {("PUT", "/a/{name}", "201"): 2, ("other", "none", "404"): 1}
    assert (
        found["somagent_http_request_seconds_count", ()]
        == found["somagent_http_request_seconds_bucket", ("+Inf",)]
        == 3
    )
    assert read_samples(other)["somagent_http_request_seconds_count", ()] == 0
