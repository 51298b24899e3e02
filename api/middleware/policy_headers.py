"""Policy headers: decision, score and constitution of the action that a call leads to. Only this module writes them.

A score is a share from 0 to 1 with six decimals. Where a call leads to several actions, the headers tell the strictest.
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
"""For a route's declared response. They are left out where no verdict is known."""
STRICTNESS = {"allow": 0, "ask": 1, "deny": 2}


def set_policy_headers(response: Response, *verdicts: Verdict) -> None:
    """Write the strictest of the verdicts into an answer's headers."""
    if verdicts:
        response.headers.update(headers_of(max(verdicts, key=lambda one: (STRICTNESS[one.decision], -one.score))))


def headers_of(verdict: Verdict) -> dict[str, str]:
    return {
        DECISION: verdict.decision,
        SCORE: f"{verdict.score / PPM:.6f}",
        CONSTITUTION: verdict.constitution,
    }


async def set_approval_headers(tx: Transaction, response: Response, *asked: Approval) -> None:
    """Tell the verdict that approvals were asked for under, of those that can be found."""
    found = [await tx.decision_log.asked(each.run, each.id) for each in asked]
    set_policy_headers(response, *(each.verdict for each in found if each))


async def _set_last_verdict_headers(run: RunPath, caller: Caller, soma: Soma, response: Response) -> None:
    """Tell the last verdict in a run: of the action that waits, where one does."""
    try:
        async with soma.store.transaction(caller.tenant) as tx:
            found = await tx.decision_log.last(run)
    except SomaError:
        return  # the endpoint says so
    set_policy_headers(response, *([found.verdict] if found else []))


SetsLastVerdictHeaders = Depends(_set_last_verdict_headers)
