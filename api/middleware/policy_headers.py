"""Policy headers: decision, score and constitution of the action that a call leads to. Only this module sets them.

A score is from 0 to 1 with six decimals. When a call leads to several actions, the headers have the strictest verdict.
"""

from typing import Any

from fastapi import Depends, Response

from api.access import Caller
from api.deps import Soma
from api.run_urls import RunPath
from capsules.actions.verdict import PPM, Verdict
from capsules.approvals.approval import Approval
from capsules.errors import SomaError
from somagent.db.transaction import Transaction

DECISION, SCORE, CONSTITUTION = "X-Policy-Decision", "X-Policy-Score", "X-Constitution-Hash"
POLICY_HEADERS: dict[str, Any] = {
    "headers": {
        DECISION: {"schema": {"type": "string", "enum": ["allow", "ask", "deny"]}, "description": "Of the action."},
        SCORE: {"schema": {"type": "string"}, "description": "S(a) with six decimals."},
        CONSTITUTION: {"schema": {"type": "string"}, "description": "Digest of the constitution that says so."},
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


async def set_approval_headers(tx: Transaction, response: Response, *asked: Approval) -> None:
    """Set the headers from the recorded verdicts that asked for these approvals."""
    found = [await tx.decision_log.for_approval(each.run, each.id) for each in asked]
    set_policy_headers(response, *(each.verdict for each in found if each))


async def _set_last_verdict_headers(run: RunPath, caller: Caller, soma: Soma, response: Response) -> None:
    """Set the headers from the last verdict of a run: that of the waiting action, if there is one."""
    try:
        async with soma.db.transaction(caller.tenant) as tx:
            found = await tx.decision_log.newest(run)
    except SomaError:
        return  # the endpoint raises it
    set_policy_headers(response, *([found.verdict] if found else []))


SetsLastVerdictHeaders = Depends(_set_last_verdict_headers)
