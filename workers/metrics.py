"""Prometheus metrics of a worker process: decisions, scores, durations, shadow verdicts, proofs.

Labels have few values, all known in advance: kinds, decisions, outcomes; never a run, target or tenant.
"""

import contextlib
from collections.abc import Iterator

from prometheus_client import start_http_server

from capsules.actions.verdict import PPM
from capsules.constitutions.proof import Proof
from policy.gate import GateMeasurement
from somagent.settings import Settings
from somagent.telemetry import ProcessMetrics

SHARES = tuple(n / 20 for n in range(1, 21))
JUDGING = (0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0)
PASSING = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
PROVING = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class GateMetrics(ProcessMetrics):
    """The metrics of one worker process."""

    def __init__(self) -> None:
        super().__init__()
        self._decisions = self.counter(
            "somagent_decisions",
            "Passages through the gate, by what the constitution said and what the ledger answered.",
            "kind",
            "decision",
            "status",
        )
        self._score = self.histogram("somagent_decision_score", "S(a), from 0 to 1.", "decision", buckets=SHARES)
        self._judging = self.histogram(
            "somagent_decision_seconds",
            "Time for a verdict, with the explanation of an ask or a deny.",
            "decision",
            buckets=JUDGING,
        )
        self._passing = self.histogram(
            "somagent_gate_seconds", "Time from the request to the durable decision.", "kind", buckets=PASSING
        )
        self._shadows = self.counter(
            "somagent_shadow_verdicts",
            "What the shadow constitution would have decided beside the active one.",
            "active",
            "shadow",
        )
        self._proving = self.histogram(
            "somagent_proof_seconds", "Time for a property of a proposed constitution.", "outcome", buckets=PROVING
        )

    def count_decision(self, passed: GateMeasurement) -> None:
        """Count one decision of the gate."""
        verdict = passed.verdict
        self._decisions.labels(passed.action.kind, verdict.decision, passed.status).inc()
        self._score.labels(verdict.decision).observe(verdict.score / PPM)
        self._judging.labels(verdict.decision).observe(passed.evaluation_seconds)
        self._passing.labels(passed.action.kind).observe(passed.total_seconds)
        if passed.shadow is not None:
            self._shadows.labels(verdict.decision, passed.shadow.decision).inc()

    def count_proof(self, proof: Proof) -> None:
        """Count one proof."""
        self._proving.labels(proof.outcome).observe(proof.seconds)


@contextlib.contextmanager
def serve_metrics(metrics: GateMetrics, settings: Settings, port: int | None) -> Iterator[None]:
    """Serve the metrics at `/metrics` while the context is open; do nothing without a port."""
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
