"""What the API process counts for Prometheus: requests by route and status, time spent, refusals, streams, proofs."""

from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The counters of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter("somagent_http_requests", "Answers.", ("method", "route", "status"), registry=registry)
        self.seconds = Histogram(
            "somagent_http_request_seconds", "Time until an answer was sent.", buckets=BUCKETS, registry=registry
        )
        self.rate_limited = Counter("somagent_rate_limited", "Requests refused for their rate.", registry=registry)
        self.rates_degraded = Counter(
            "somagent_rate_window_degraded", "Requests counted by this process alone.", registry=registry
        )
        self.streams = Gauge("somagent_event_streams", "Event streams that are open.", registry=registry)
        # `what` is `proofs` or `explanations`.
        self.work = Counter("somagent_policy_work", "Pieces of Z3 work done.", ("what",), registry=registry)
        self.work_seconds = Counter(
            "somagent_policy_work_seconds", "Time that they took.", ("what",), registry=registry
        )
        self.work_refused = Counter(
            "somagent_policy_work_refused", "Pieces refused while all threads worked.", ("what",), registry=registry
        )

    def text(self) -> str:
        """Return the counters in Prometheus' text format."""
        return generate_latest(self.registry).decode()


class RequestMetrics:
    """ASGI middleware that counts every answer under its route's template, never under the path that was sent."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = perf_counter(), 500

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.requests.labels(_known(scope["method"]), route, status).inc()
            self._metrics.seconds.observe(perf_counter() - started)


def _known(method: str) -> str:
    return method if method in {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"} else "other"
