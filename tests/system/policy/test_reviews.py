"""A security reviewer with the command line alone, beside a running stack: break a guarantee and see what comes of it.

The counterexample, the blocked activation, the difference, and which real runs would have gone another way.
"""

import json
import uuid
from pathlib import Path

import httpx
import pytest
import yaml
from application_workflows import CallOneActivity
from capsule_texts import asks_first
from platforms import Platform
from servers import eventually
from sources import ROOT
from temporalio import activity
from temporalio.client import Client
from temporalio.worker import Worker

from capsules.budgets.amounts import Amounts
from capsules.governance.application import Application, Terms
from capsules.governance.governed import governed
from somagent.capsule_files.library import Library
from somagent.cli.exit_codes import Code
from somagent.governance import governance


@pytest.fixture(scope="module")
async def asked_run(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A real run that asked a person before it used a tool, and was told yes; with another one beside it."""
    file = tmp_path_factory.mktemp("reviewer") / "reviewed.yaml"
    file.write_text(asks_first("reviewed"))
    assert (await platform.cli("capsule", "publish", file)).code == Code.OK
    assert (await platform.cli("run", "word-count", "-f", "text=One two two.")).code == Code.OK
    key = uuid.uuid4().hex
    assert (await platform.cli("run", "reviewed", "--key", key, "--no-wait")).code == Code.WAITING
    run = f"local/reviewed/{key}"
    (approval,) = (await platform.cli("approvals", "list", "--run", run, "--json")).json
    assert (await platform.cli("approve", approval["id"], "--as", "approver")).code == Code.OK
    assert (await platform.cli("runs", "watch", run)).code == Code.OK
    return run


@activity.defn(name="send_report")
@governed(effect="read", reversible=True, egress="allowlist", data="secret", idempotent=True)
async def send_report(to: str) -> str:
    """Say that a report with a secret in it was sent. No gate lets it through."""
    return f"sent to {to}"


@pytest.fixture(scope="module")
async def denied_run(platform: Platform) -> str:
    """A real run, of an application under our gate, that wanted to send a secret away and was told no."""
    settings = platform.settings
    terms = Terms(
        application=Application(tenant="local", name="reports"), actor="reports", budget=Amounts(tool_calls=5)
    )
    async with governance(settings, terms) as plugin:
        client = await Client.connect(settings.temporal_target(), plugins=[plugin])
        async with Worker(client, task_queue="reports", workflows=[CallOneActivity], activities=[send_report]):
            handle = await client.start_workflow(
                CallOneActivity.run,
                args=["send_report", ["partner"], "fails fast"],
                id=f"report {uuid.uuid4().hex[:8]}",
                task_queue="reports",
            )
            answer = await handle.result()
    assert answer["refused"] == "PolicyDenied", answer
    return terms.application.run(handle.id, handle.first_execution_run_id or "")


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """The shipped constitution without the article that its guarantee `secrets-stay` rests on."""
    document = Library.load().constitution
    changed = document | {
        "metadata": {"name": "default", "version": "1.1.0"},
        "articles": [one for one in document["articles"] if one["id"] != "no-secret-egress"],
    }
    file = tmp_path / "broken.yaml"
    file.write_text(yaml.safe_dump(changed, sort_keys=False))
    return file


async def test_a_reviewer_sees_what_a_broken_guarantee_would_do(
    platform: Platform, asked_run: str, denied_run: str, broken: Path
) -> None:
    before = (await platform.cli("policy", "check", "active", "--json")).json["digest"]

    proved = await platform.cli("policy", "prove", broken)
    assert proved.code == Code.REFUTED
    assert "refuted secrets-stay" in proved.out
    assert "Take tool.invoke on python@1.0.0/run, action.egress = 'allowlist', action.data = 'secret'." in proved.out

    difference = await platform.cli("policy", "diff", "active", broken)
    assert difference.code == Code.OK, difference.err
    assert "Newly allowed, was denied:" in difference.out
    assert "action.data = 'secret'" in difference.out
    assert "No action goes from asked to allowed." in difference.out

    past = await platform.cli("policy", "backtest", broken)
    assert past.code == Code.OK, past.err
    (flip,) = [line for line in past.out.splitlines() if line.startswith("local/")]
    assert flip.startswith(denied_run), "the run that used a tool as before does not flip"
    assert flip.index(" deny") < flip.index(" allow")
    assert f"somagent receipts {denied_run}" in past.out
    assert "1 of " in past.out
    (told,) = (await platform.cli("policy", "backtest", broken, "--json")).json["flips"]
    why = await platform.cli("policy", "explain", "--run", denied_run, "--seq", told["seq"])
    assert "because of no-secret-egress: action.data = 'secret', action.egress = 'allowlist'" in why.out

    unsigned = await platform.cli("policy", "activate", broken)
    assert unsigned.code == Code.DENIED
    assert "somagent policy sign" in unsigned.err
    assert (await platform.cli("policy", "sign", broken)).code == Code.OK
    blocked = await platform.cli("policy", "activate", broken)
    assert blocked.code == Code.REFUTED, blocked
    assert "refuted secrets-stay" in blocked.out
    assert "action.data = 'secret'" in blocked.out
    assert "A proof blocks it. The active constitution stays." in blocked.err
    assert (await platform.cli("policy", "check", "active", "--json")).json["digest"] == before


async def test_what_is_older_unsigned_or_changed_after_signing_is_refused_and_named(
    platform: Platform, tmp_path: Path
) -> None:
    before = (await platform.cli("policy", "check", "active", "--json")).json["digest"]
    file, document = tmp_path / "mine.yaml", Library.load().constitution

    def write(version: str, threshold: float) -> None:
        score = document["score"] | {"threshold": threshold}
        file.write_text(
            yaml.safe_dump(document | {"metadata": {"name": "default", "version": version}, "score": score})
        )

    write("0.9.0", 0.6)
    assert (await platform.cli("policy", "sign", file)).code == Code.OK
    older = await platform.cli("policy", "activate", file)
    assert (older.code, "default@0.9.0 is older than default@1.0.0" in older.err) == (Code.DENIED, True), older
    write("1.3.0", 0.7)
    changed = await platform.cli("policy", "activate", file)
    assert (changed.code, "everybody signs again" in changed.err) == (Code.CONFLICT, True), changed
    beside = tmp_path / "mine.yaml.sig.json"
    signed = json.loads(beside.read_text())
    digest = (await platform.cli("policy", "check", file, "--json")).json["digest"]
    beside.write_text(json.dumps(signed | {"digest": digest}))
    forged = await platform.cli("policy", "activate", file)
    assert (forged.code, "does not hold" in forged.err) == (Code.DENIED, True), forged
    file.write_text(file.read_text().replace("action.data == 'secret'", "action.dta == 'secret'"))
    beside.unlink()
    unread = await platform.cli("policy", "activate", file)
    assert (unread.code, "no-secret-egress" in unread.err) == (Code.INVALID, True), unread
    assert (await platform.cli("policy", "check", "active", "--json")).json["digest"] == before


async def test_a_past_decision_is_explained_by_its_receipt(platform: Platform, asked_run: str) -> None:
    receipts = (await platform.cli("receipts", asked_run, "--json")).json
    seq = next(r["seq"] for r in receipts if r["body"].get("decision") == "ask")
    told = await platform.cli("policy", "explain", "--run", asked_run, "--seq", seq)
    assert told.code == Code.OK, told.err
    assert "because of manual-autonomy" in told.out
    assert "run.autonomy: 'manual' -> 'supervised'" in told.out
    assert "who has approval:decide can approve it" in told.out
    (approval,) = {r["body"]["approval"] for r in receipts if "approval" in r["body"] and r["body"]["approval"]}
    assert "manual-autonomy" in (await platform.cli("policy", "explain", "--approval", approval)).out


async def test_a_stricter_one_is_approved_activated_and_rolled_back(platform: Platform, tmp_path: Path) -> None:
    document = Library.load().constitution
    article = {"id": "no-open-egress", "forbid": "action.egress == 'open'", "because": "Only places on a list."}
    stricter = tmp_path / "stricter.yaml"
    changed = document | {
        "metadata": {"name": "default", "version": "1.2.0"},
        "articles": [*document["articles"], article],
    }
    stricter.write_text(yaml.safe_dump(changed, sort_keys=False))
    assert (await platform.cli("policy", "sign", stricter)).code == Code.OK
    waiting = await platform.cli("policy", "activate", stricter, "--tenant", "local", "--key", "stricter")
    assert waiting.code == Code.WAITING, waiting
    assert "Newly denied, was allowed:" in waiting.out
    assert "somagent policy approve stricter --as approver" in waiting.out
    assert (await platform.cli("policy", "approve", "stricter")).code == Code.DENIED, "who proposes does not approve"
    approved = await platform.cli("policy", "approve", "stricter", "--as", "approver")
    assert approved.code == Code.OK, approved
    assert "active for local" in approved.out

    async def denies_open_egress(*, expected: str) -> None:
        action = {"kind": "tool.invoke", "target": "python@1.0.0/run", "egress": "open", "data": "public"}
        answer = await platform.operator.post("/v1/policy/dry-run", json={"action": action})
        assert answer.headers["x-policy-decision"] == expected

    await eventually(lambda: denies_open_egress(expected="deny"))
    back = await platform.cli("policy", "rollback", "--tenant", "local", "--key", "back")
    assert back.code == Code.WAITING, back
    assert (await platform.cli("policy", "approve", "back", "--as", "approver")).code == Code.OK
    await eventually(lambda: denies_open_egress(expected="allow"))


async def test_an_overlay_is_proposed_and_rejected_and_one_that_widens_is_blocked(
    platform: Platform, tmp_path: Path
) -> None:
    sample = ROOT / "capsules/library/constitutions/overlays/hipaa-like.yaml"
    file = tmp_path / "overlay.yaml"
    file.write_text(sample.read_text())
    assert (await platform.cli("policy", "sign", file)).code == Code.OK
    waiting = await platform.cli("policy", "activate", file, "--tenant", "local", "--key", "overlay")
    assert waiting.code == Code.WAITING, waiting
    assert "Newly denied, was allowed:" in waiting.out
    rejected = await platform.cli("policy", "reject", "overlay", "--comment", "Not now.", "--as", "approver")
    assert "overlay is rejected; the active constitution stays." in rejected.out
    article = {"id": "stop-after-denials", "forbid": "run.denials >= 200", "because": "Twenty was too few."}
    wider = yaml.safe_load(sample.read_text()) | {"score": {}, "articles": [article], "guarantees": []}
    file.write_text(yaml.safe_dump(wider))
    (tmp_path / "overlay.yaml.sig.json").unlink()
    assert (await platform.cli("policy", "sign", file)).code == Code.OK
    blocked = await platform.cli("policy", "activate", file, "--tenant", "local")
    assert blocked.code == Code.REFUTED, blocked
    assert "The overlay widens: what was denied is asked or allowed." in blocked.out
    assert "run.denials = 20" in blocked.out


async def test_calls_that_lead_to_an_action_tell_its_verdict(platform: Platform, asked_run: str) -> None:
    key = uuid.uuid4().hex
    started = await platform.operator.post("/v1/capsules/reviewed/runs", json={}, headers={"Idempotency-Key": key})
    assert started.headers["x-policy-decision"] == "allow"
    assert float(started.headers["x-policy-score"]) > 0.5
    run = f"local/reviewed/{key}"
    await platform.until(run, "awaiting_approval")
    (approval,) = await platform.approvals(run)
    raised = await platform.approver.post(f"/v1/budgets/runs/{run.replace('/', '~')}/raise", json={"tool_calls": 1})
    of_it = f"/v1/approvals/{approval['id']}"
    attested = await platform.approver.post(f"{of_it}/attestation", json={"approve": True})
    denied = await platform.approver.post(f"{of_it}/deny", json={})
    assert denied.status_code == 200, denied.text
    batch = {"decisions": [{"approval": approval["id"], "approve": False}, {"approval": "none", "approve": False}]}
    together = await platform.approver.post("/v1/approvals/decide", json=batch)
    assert [r["problem"]["code"] for r in together.json()["results"]] == ["Conflict", "NotFound"]
    for answer in (raised, attested, denied, together):
        assert answer.headers["x-policy-decision"] == "ask", answer.text
        assert answer.headers["x-policy-score"] == "0.800000", "its one tool call would leave nothing"
        assert answer.headers["x-constitution-hash"] == started.headers["x-constitution-hash"]


async def test_workers_count_decisions_for_prometheus(platform: Platform, asked_run: str) -> None:
    async with httpx.AsyncClient() as http:
        texts = [
            (await http.get(f"http://127.0.0.1:{port}/metrics")).text
            for port in (platform.settings.worker_metrics_port, platform.settings.tools_metrics_port)
        ]
    starts, tools = texts
    assert 'somagent_decisions_total{decision="allow",kind="capsule.start",status="go"}' in starts
    assert 'somagent_decisions_total{decision="ask",kind="tool.invoke",status="ask"}' in tools
    assert 'somagent_decision_score_bucket{decision="allow",le="0.55"} 0.0' in tools
    assert 'somagent_decision_seconds_count{decision="ask"}' in tools
    assert 'somagent_gate_seconds_count{kind="tool.invoke"}' in tools
