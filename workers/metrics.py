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

SCORE_BUCKETS = tuple(n / 20 for n in range(1, 21))
EVALUATION_BUCKETS = (
    0.00001,
    0.000025,
    0.00005,
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.5,
    1.0,
)
GATE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
PROOF_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class GateMetrics(ProcessMetrics):
    """The metrics of one worker process."""

    def __init__(self) -> None:
        super().__init__()
        self._decisions = self.counter(
            "somagent_decisions",
            "Decisions of the gate, by the constitution's verdict and the ledger's status.",
            "kind",
            "decision",
            "status",
        )
        self._score = self.histogram("somagent_decision_score", "S(a), from 0 to 1.", "decision", buckets=SCORE_BUCKETS)
        self._evaluation_seconds = self.histogram(
            "somagent_decision_seconds",
            "Time for a verdict in seconds, with the explanation of an ask or a deny.",
            "decision",
            buckets=EVALUATION_BUCKETS,
        )
        self._gate_seconds = self.histogram(
            "somagent_gate_seconds",
            "Time from the request to the durable decision, in seconds.",
            "kind",
            buckets=GATE_BUCKETS,
        )
        self._shadow_verdicts = self.counter(
            "somagent_shadow_verdicts",
            "Verdicts of the shadow constitution, by the verdict of the active one.",
            "active",
            "shadow",
        )
        self._proof_seconds = self.histogram(
            "somagent_proof_seconds",
            "Time to prove a guarantee of a proposed constitution, in seconds.",
            "outcome",
            buckets=PROOF_BUCKETS,
        )

    def count_decision(self, measured: GateMeasurement) -> None:
        """Count one decision of the gate."""
        verdict = measured.verdict
        self._decisions.labels(measured.action.kind, verdict.decision, measured.status).inc()
        self._score.labels(verdict.decision).observe(verdict.score / PPM)
        self._evaluation_seconds.labels(verdict.decision).observe(measured.evaluation_seconds)
        self._gate_seconds.labels(measured.action.kind).observe(measured.total_seconds)
        if measured.shadow is not None:
            self._shadow_verdicts.labels(verdict.decision, measured.shadow.decision).inc()

    def count_proof(self, proof: Proof) -> None:
        """Count one proof."""
        self._proof_seconds.labels(proof.outcome).observe(proof.seconds)


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
