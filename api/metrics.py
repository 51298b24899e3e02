"""Counters of this process in Prometheus' text format: requests by route and status, time spent, refusals, streams."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass
class Metrics:
    """Mutable counts; one per process."""

    requests: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    buckets: Counter[float] = field(default_factory=Counter)
    seconds: float = 0.0
    answered: int = 0
    rate_limited: int = 0
    rates_degraded: int = 0
    streams: int = 0
    work: Counter[str] = field(default_factory=Counter)
    work_seconds: Counter[str] = field(default_factory=Counter)
    work_refused: Counter[str] = field(default_factory=Counter)

    def record(self, method: str, route: str, status: int, seconds: float) -> None:
        self.requests[(method, route, status)] += 1
        self.seconds += seconds
        self.answered += 1
        for bound in BUCKETS:
            if seconds <= bound:
                self.buckets[bound] += 1

    def worked(self, what: str, seconds: float) -> None:
        """Count a piece of Z3 work: `proofs` or `explanations`."""
        self.work[what] += 1
        self.work_seconds[what] += seconds  # type: ignore[assignment]  # a Counter counts fractions as well

    def text(self) -> str:
        """Return the exposition."""
        lines = ["# TYPE somagent_http_requests_total counter"]
        lines += [
            f'somagent_http_requests_total{{method="{method}",route="{route}",status="{status}"}} {count}'
            for (method, route, status), count in sorted(self.requests.items())
        ]
        lines.append("# TYPE somagent_http_request_seconds histogram")
        lines += [f'somagent_http_request_seconds_bucket{{le="{bound}"}} {self.buckets[bound]}' for bound in BUCKETS]
        lines += [
            f'somagent_http_request_seconds_bucket{{le="+Inf"}} {self.answered}',
            f"somagent_http_request_seconds_sum {self.seconds:.6f}",
            f"somagent_http_request_seconds_count {self.answered}",
        ]
        lines += _single("somagent_rate_limited_total", "counter", self.rate_limited)
        lines += _single("somagent_rate_window_degraded_total", "counter", self.rates_degraded)
        lines += _single("somagent_event_streams", "gauge", self.streams)
        for name, counts in (("", self.work), ("_seconds", self.work_seconds), ("_refused", self.work_refused)):
            lines.append(f"# TYPE somagent_policy_work{name}_total counter")
            lines += [f'somagent_policy_work{name}_total{{what="{w}"}} {c:g}' for w, c in sorted(counts.items())]
        return "\n".join(lines) + "\n"


class Measure:
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
            self._metrics.record(_known(scope["method"]), route, status, perf_counter() - started)


def _known(method: str) -> str:
    return method if method in {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"} else "other"


def _single(name: str, kind: str, value: int) -> Iterable[str]:
    return (f"# TYPE {name} {kind}", f"{name} {value}")
