"""Prometheus metrics of the API process: requests by route and status, durations, refusals, streams, proofs."""

from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from somagent.telemetry import ProcessMetrics

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics(ProcessMetrics):
    """The metrics of one API process. The label `what` is `proofs` or `explanations`."""

    def __init__(self) -> None:
        super().__init__()
        self.requests = self.counter("somagent_http_requests", "Answers.", "method", "route", "status")
        self.seconds = self.histogram(
            "somagent_http_request_seconds", "Time until an answer was sent.", buckets=BUCKETS
        )
        self.rate_limited = self.counter("somagent_rate_limited", "Requests refused by the rate limit.")
        self.rates_degraded = self.counter("somagent_rate_window_degraded", "Requests counted by this process alone.")
        self.streams = self.gauge("somagent_event_streams", "Event streams that are open.")
        self.work = self.counter("somagent_policy_work", "Pieces of Z3 work done.", "what")
        self.work_seconds = self.counter("somagent_policy_work_seconds", "Time that they took.", "what")
        self.work_refused = self.counter(
            "somagent_policy_work_refused", "Pieces refused while all threads worked.", "what"
        )


class RequestMetrics:
    """ASGI middleware that counts every response by the template of its route, never by the path of the request."""

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
            self._metrics.requests.labels(_method_label(scope["method"]), route, status).inc()
            self._metrics.seconds.observe(perf_counter() - started)


def _method_label(method: str) -> str:
    return method if method in {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"} else "other"
