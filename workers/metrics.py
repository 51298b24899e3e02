"""What a worker counts for Prometheus: decisions, scores, how long they take, shadow differences, proofs.

Labels are few and known beforehand: kinds, decisions, outcomes. No run, target or tenant is ever one.
"""

import contextlib
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server

from capsules.actions.verdict import PPM
from capsules.constitutions.proof import Proof
from policy.gate import GateMeasurement
from somagent.settings import Settings

SHARES = tuple(n / 20 for n in range(1, 21))
JUDGING = (0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0)
PASSING = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
PROVING = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class GateMetrics:
    """The counters of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._decisions = Counter(
            "somagent_decisions",
            "Passages through the gate, by what the constitution said and what the ledger answered.",
            ("kind", "decision", "status"),
            registry=self.registry,
        )
        self._score = Histogram(
            "somagent_decision_score", "S(a), from 0 to 1.", ("decision",), buckets=SHARES, registry=self.registry
        )
        self._judging = Histogram(
            "somagent_decision_seconds",
            "Time for a verdict, with the explanation of an ask or a deny.",
            ("decision",),
            buckets=JUDGING,
            registry=self.registry,
        )
        self._passing = Histogram(
            "somagent_gate_seconds",
            "Time from the request to the durable decision.",
            ("kind",),
            buckets=PASSING,
            registry=self.registry,
        )
        self._shadows = Counter(
            "somagent_shadow_verdicts",
            "What the shadow constitution would have decided beside the active one.",
            ("active", "shadow"),
            registry=self.registry,
        )
        self._proving = Histogram(
            "somagent_proof_seconds",
            "Time for a property of a proposed constitution.",
            ("outcome",),
            buckets=PROVING,
            registry=self.registry,
        )

    def passed(self, passed: GateMeasurement) -> None:
        """Count one passage."""
        verdict = passed.verdict
        self._decisions.labels(passed.action.kind, verdict.decision, passed.status).inc()
        self._score.labels(verdict.decision).observe(verdict.score / PPM)
        self._judging.labels(verdict.decision).observe(passed.judging)
        self._passing.labels(passed.action.kind).observe(passed.passing)
        if passed.shadow is not None:
            self._shadows.labels(verdict.decision, passed.shadow.decision).inc()

    def proved(self, proof: Proof) -> None:
        """Count one proof."""
        self._proving.labels(proof.outcome).observe(proof.seconds)


@contextlib.contextmanager
def served(metrics: GateMetrics, settings: Settings, port: int | None) -> Iterator[None]:
    """Serve the counters at `/metrics` while the context is open; do nothing without a port."""
    if port is None:
        yield
        return
    server, thread = start_http_server(port, addr=settings.host, registry=metrics.registry)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
