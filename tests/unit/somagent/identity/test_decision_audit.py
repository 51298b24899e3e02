"""The auditor of decisions: it names each record that no attestation of our issuer proves as it stands."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from capsules.audit.attestations import REQUIRED, DecisionAuditor
from capsules.audit.audit_blocks import Leaf
from capsules.audit.auditor import Record, VerificationError
from capsules.budgets.amounts import Amounts
from capsules.digest import Digest, canonical, digest, sha256
from somagent.identity.keys import KeyRing
from somagent.identity.tokens import Attestation, Tokens

RUN, ACTION = "acme/hello/k1", digest("an action")


def now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


Check = Callable[..., DecisionAuditor]


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    return KeyRing.create_missing(tmp_path / "keys")


@pytest.fixture
def tokens(ring: KeyRing) -> Tokens:
    return Tokens(ring)


@pytest.fixture
def check(ring: KeyRing) -> Check:
    """Check records against tokens, as the auditor with the ring's public keys does."""

    def checked(tokens: list[str], *records: tuple[str, dict[str, Any]]) -> DecisionAuditor:
        signed = DecisionAuditor(
            "acme", tokens, lambda key, text, value: ring.verify("issuer", key, text.encode(), value)
        )
        for number, (kind, body) in enumerate(records, 1):
            leaf = Leaf(number, kind, RUN if kind == "receipt" else "", number, digest(body))  # type: ignore[arg-type]
            signed.read(Record(leaf, canonical(body).decode(), None))
        signed.finish()
        return signed

    return checked


def yes(tokens: Tokens, **changes: Any) -> str:
    claims: dict[str, Any] = {
        "tenant": "acme",
        "subject": "grace",
        "capabilities": frozenset({"approval:decide"}),
        "purpose": "approve",
        "run": RUN,
        "approval": "a1",
        "action": ACTION,
    }
    return tokens.mint_attestation(Attestation(**(claims | changes)))


def answered(token: str | None, **changes: Any) -> tuple[str, dict[str, Any]]:
    details = {"run": RUN, "action": ACTION, "said": "yes", "on_behalf_of": None}
    details |= {"attestation": None if token is None else sha256(token.encode())}
    entry = {"action": "approval.answered", "actor": "grace", "subject": "a1", "at": now(), "details": details}
    return "audit", entry | changes


def allowed(*tokens: str, activity: str = "1", **changes: Any) -> tuple[str, dict[str, Any]]:
    body = {
        "decision": "allow",
        "reason": "approval",
        "approval": "a1",
        "action": {"target": "python@1.0.0/run"},
        "action_digest": ACTION,
        "approvers": [{"by": "grace", "on_behalf_of": None}],
        "attestations": [sha256(token.encode()) for token in tokens],
        "execution": "e1",
        "activity": activity,
        "verdict": {"demands": [{"capability": "approval:decide", "quorum": 1}]},
    }
    return "receipt", body | changes


def test_a_decision_and_its_use_are_proved_by_one_attestation(tokens: Tokens, check: Check) -> None:
    token = yes(tokens)
    assert check([token], answered(token), allowed(token), allowed(token)).proved == 3


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        (lambda token: answered(token, actor="approver"), "says subject 'approver'; its attestation says 'grace'"),
        (lambda token: answered(token, subject="a2"), "says approval 'a2'"),
        (lambda token: answered(token, at="2030-01-01T00:00:00.000000Z"), "when its attestation was not valid"),
        (lambda _: answered(None), "has no attestation: no proof that a person decided it"),
        (lambda _: answered("another"), "which is gone"),
        (lambda _: allowed(), "has no attestation"),
        (lambda token: allowed(token, action_digest=digest("another")), "says action"),
        (lambda token: allowed(token, approvers=[{"by": "approver"}]), "names other approvers than its attestations"),
        (
            lambda token: allowed(token, verdict={"demands": [{"capability": "approval:decide", "quorum": 2}]}),
            "has fewer attested approvals with 'approval:decide' than it needs",
        ),
    ],
)
def test_a_record_that_says_something_else_is_named(
    tokens: Tokens, check: Check, record: Callable[[str], tuple[str, dict[str, Any]]], problem: str
) -> None:
    token = yes(tokens)
    with pytest.raises(VerificationError, match=problem):
        check([token], record(token))


def test_an_approval_is_used_for_one_effect(tokens: Tokens, check: Check) -> None:
    token = yes(tokens)
    with pytest.raises(VerificationError, match="uses approval 'a1' a second time"):
        check([token], allowed(token), allowed(token, activity="2"))


def test_an_attestation_that_our_issuer_did_not_sign_is_named(tokens: Tokens, check: Check, tmp_path: Path) -> None:
    forger = Tokens(KeyRing.create_missing(tmp_path / "other"))
    with pytest.raises(VerificationError, match="was not signed by an issuer of this installation"):
        check([yes(forger)])
    head, payload, signature = yes(tokens).split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    claims["body"]["subject"] = "approver"
    altered = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    with pytest.raises(VerificationError, match="was not signed"):
        check([f"{head}.{altered}.{signature}"])
    with pytest.raises(VerificationError, match="cannot be read"):
        check(["nothing"])


def test_a_token_still_proves_what_was_decided_when_it_has_expired(tokens: Tokens, check: Check) -> None:
    token = tokens.mint_attestation(
        Attestation(
            tenant="acme",
            subject="g",
            capabilities=frozenset({"a:b"}),
            purpose="grant",
            record="x",
            terms={"scope": "true", "capability": "a:b", "reason": "r", "constitution": "c", "uses": 2},
        ),
        issued_at=int(datetime(2020, 1, 1, tzinfo=UTC).timestamp()),
    )
    given = {"action": "grant.given", "actor": "g", "subject": "x", "at": "2020-01-01T00:01:00.000000Z"}
    terms = {"scope": "true", "capability": "a:b", "reason": "r", "constitution": "c", "uses": "2"}
    entry = given | {"details": terms | {"attestation": sha256(token.encode())}}
    assert check([token], ("audit", entry)).proved == 1
    for change in ({"scope": "false"}, {"uses": "3"}):
        with pytest.raises(VerificationError, match="differs from its attestation in"):
            check([token], ("audit", entry | {"details": entry["details"] | change}))


def test_an_upgrade_excuses_what_came_before_it_and_nothing_after(tokens: Tokens, check: Check) -> None:
    upgraded = (
        "audit",
        {"action": REQUIRED, "actor": "upgrade", "subject": "installation", "at": now(), "details": {}},
    )
    token = yes(tokens)
    assert check([token], answered(None), upgraded, answered(token)).proved == 1
    with pytest.raises(VerificationError, match="has no attestation"):
        check([token], upgraded, answered(None))
    with pytest.raises(VerificationError, match="excuses decisions after attested ones"):
        check([token], answered(token), answered(None), upgraded)


def test_a_raise_is_matched_by_its_record_and_amounts(tokens: Tokens, check: Check) -> None:
    token = yes(tokens, purpose="raise_budget", approval=None, action=None, record="k", amounts=Amounts(tokens=5))
    details = {"key": "k", "limit_tokens": "5", "limit_micro_usd": "0", "limit_tool_calls": "0"}
    entry = {"action": "budget.raised", "actor": "grace", "subject": f"run:{RUN}", "at": now(), "details": details}
    assert check([token], ("audit", entry)).proved == 1
    for change in ({"actor": "approver"}, {"subject": "run:other"}, {"details": details | {"limit_tokens": "500"}}):
        with pytest.raises(VerificationError, match="has no attestation"):
            check([token], ("audit", entry | change))


def test_a_standing_grant_counts_for_so_many_effects(tokens: Tokens, check: Check) -> None:
    token = yes(tokens, purpose="grant", approval=None, action=None, record="g1", terms={"uses": 1})
    grant: dict[str, Any] = {
        "reason": "standing grant",
        "standing_grant": "g1",
        "approved_by": "grace",
        "attestation": Digest(sha256(token.encode())),
    }
    assert check([token], allowed(**grant), allowed(**grant)).proved == 2
    with pytest.raises(VerificationError, match="is use 2 of a standing grant for fewer"):
        check([token], allowed(**grant), allowed(activity="2", **grant))
