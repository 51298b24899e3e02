"""Policy headers of responses: decision, score and constitution of the action that a request leads to.

A score is from 0 to 1 with six decimals. When a request leads to several actions, the strictest verdict counts.
"""

from typing import Any

from fastapi import Depends, Response

from api.access import Caller
from api.deps import StateDep
from api.run_urls import RunPath
from capsules.actions.verdict import PPM, Verdict
from capsules.approvals.approval import Approval
from capsules.errors import SomaError
from somagent.db.transaction import Transaction

DECISION, SCORE, CONSTITUTION = "X-Policy-Decision", "X-Policy-Score", "X-Constitution-Hash"
POLICY_HEADERS: dict[str, Any] = {
    "headers": {
        DECISION: {
            "schema": {"type": "string", "enum": ["allow", "ask", "deny"]},
            "description": "Decision about the action.",
        },
        SCORE: {"schema": {"type": "string"}, "description": "Score of the action, from 0 to 1 with six decimals."},
        CONSTITUTION: {"schema": {"type": "string"}, "description": "Digest of the constitution that decided."},
    }
}
"""Declaration for a route's response. The headers are absent when no verdict is known."""
STRICTNESS = {"allow": 0, "ask": 1, "deny": 2}


def set_policy_headers(response: Response, *verdicts: Verdict) -> None:
    """Set the policy headers of the strictest verdict."""
    if verdicts:
        response.headers.update(headers_of(max(verdicts, key=lambda one: (STRICTNESS[one.decision], -one.score))))


def headers_of(verdict: Verdict) -> dict[str, str]:
    """Return the policy headers of a verdict."""
    return {
        DECISION: verdict.decision,
        SCORE: f"{verdict.score / PPM:.6f}",
        CONSTITUTION: verdict.constitution,
    }


async def set_approval_headers(tx: Transaction, response: Response, *approvals: Approval) -> None:
    """Set the headers from the recorded verdicts that asked for these approvals."""
    decisions = [await tx.decision_log.for_approval(approval.run, approval.id) for approval in approvals]
    set_policy_headers(response, *(decision.verdict for decision in decisions if decision))


async def _set_last_verdict_headers(run: RunPath, caller: Caller, state: StateDep, response: Response) -> None:
    """Set the headers from the last verdict of a run: that of the waiting action, if there is one."""
    try:
        async with state.db.transaction(caller.tenant) as tx:
            decision = await tx.decision_log.newest(run)
    except SomaError:
        return  # the endpoint raises it
    set_policy_headers(response, *([decision.verdict] if decision else []))


SET_LAST_VERDICT_HEADERS = Depends(_set_last_verdict_headers)
