"""What a worker counts, scraped as Prometheus does: over HTTP, on the port that was asked for."""

import httpx
import pytest
from servers import free_ports, settings_in

from capsules.actions.action import Action, Facts
from capsules.actions.verdict import ShadowVerdict
from capsules.constitutions.proof import Proof
from capsules.digest import GENESIS
from policy.gate import GateMeasurement
from policy.prove.review import compile_policy
from somagent.capsule_files.library import Library
from workers.metrics import GateMetrics, serve_metrics


@pytest.fixture
def metrics() -> GateMetrics:
    """The counters after one action that was allowed and that a shadow would have denied, and one refuted proof."""
    counted = GateMetrics()
    action = Action(kind="tool.invoke", target="python@1.0.0/run", arguments=GENESIS)
    verdict = compile_policy(Library.load().constitution).evaluate(action, Facts())
    shadow = ShadowVerdict(constitution=GENESIS, decision="deny")
    counted.count_decision(
        GateMeasurement(action, verdict, shadow, "go", evaluation_seconds=0.00004, total_seconds=0.003)
    )
    counted.count_proof(Proof(guarantee="secrets-stay", outcome="refuted", sentence="It does not hold.", seconds=0.02))
    return counted


def test_counters_are_served_where_they_were_asked_for(metrics: GateMetrics, tmp_path) -> None:
    settings, (port,) = settings_in(tmp_path), free_ports(1)
    with serve_metrics(metrics, settings, port):
        text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    for line in (
        'somagent_decisions_total{decision="allow",kind="tool.invoke",status="go"} 1.0',
        'somagent_decision_score_bucket{decision="allow",le="0.95"} 0.0',
        'somagent_decision_score_bucket{decision="allow",le="1.0"} 1.0',
        'somagent_decision_seconds_bucket{decision="allow",le="5e-05"} 1.0',
        'somagent_gate_seconds_count{kind="tool.invoke"} 1.0',
        'somagent_shadow_verdicts_total{active="allow",shadow="deny"} 1.0',
        'somagent_proof_seconds_count{outcome="refuted"} 1.0',
    ):
        assert line in text.splitlines(), text
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/metrics")


def test_without_a_port_nothing_listens(metrics: GateMetrics, tmp_path) -> None:
    with serve_metrics(metrics, settings_in(tmp_path), None):
        pass


def test_no_counter_names_a_run_a_target_or_a_tenant(metrics: GateMetrics) -> None:
    labels = {label for family in metrics.registry.collect() for sample in family.samples for label in sample.labels}
    assert labels == {"kind", "decision", "status", "le", "active", "shadow", "outcome"}
