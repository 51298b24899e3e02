"""Attestations in the audit: each recorded decision of a person is matched with the signed token that proves it.

The audit record says who decided what. `DecisionAuditor` verifies the tokens with the issuer's public keys and compares
their claims with the records, so a decision that the database invented, altered or blamed on somebody else is named.
"""

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from capsules.audit.audit_blocks import Leaf
from capsules.audit.auditor import Record, SignatureCheck, VerificationError
from capsules.digest import Digest, sha256

LEEWAY_SECONDS = 2
"""Tolerated difference between the clocks of one cluster."""
REQUIRED = "attestations.required"
"""Action of the audit entry that an upgrade writes: decisions before it have no attestations."""
AUDIENCE = "somagent.attestation"

MARKS = ('"reason":"approval"', '"reason":"standing grant"', '"edited_to":')
"""Parts of the canonical text of a receipt that people allowed, or of an edit."""
ANSWERS = {"yes": "approve", "no": "deny", "edit": "edit"}


class Rule(NamedTuple):
    """Which attestation an audit entry needs: the detail with its digest, its purpose, and what both say."""

    proof: str
    purpose: str
    record: str
    """Claim that has the subject of the entry."""
    terms: tuple[str, ...] = ()
    """Details that are terms of the attestation."""


RULES: Mapping[str, Rule] = {
    "approval.answered": Rule("attestation", "", "approval"),
    "grant.given": Rule("attestation", "grant", "record", ("scope", "capability", "reason", "constitution", "uses")),
    "grant.proved": Rule("attestation", "grant", "record", ("constitution",)),
    "grant.revoked": Rule("revocation", "revoke_grant", "record"),
    "delegation.given": Rule("attestation", "delegate", "record", ("delegate", "capability", "reason")),
    "delegation.revoked": Rule("revocation", "revoke_delegation", "record"),
    "constitution.proposed": Rule("attestation", "propose_constitution", "record"),
    "constitution.approved": Rule("vote", "approve_constitution", "record"),
    "constitution.rejected": Rule("vote", "reject_constitution", "record"),
    "constitution.changed": Rule("revocation", "revoke_constitution", "record"),
    "budget.raised": Rule("key", "raise_budget", "record"),
}


class Attested(NamedTuple):
    """A verified attestation: its claims, and from when to when its signature allowed to use it."""

    body: dict[str, Any]
    issued: int
    expires: int

    def counted_at(self, moment: str) -> bool:
        """Return whether it was valid at a time of the record."""
        at = datetime.fromisoformat(moment).timestamp()
        return self.issued - LEEWAY_SECONDS <= at <= self.expires + LEEWAY_SECONDS


def read_attestation(token: str, checks: SignatureCheck) -> Attested:
    """Return the attestation of a token, as it was when it was signed. Raises VerificationError."""
    try:
        head, payload, signature = token.split(".")
        header, claims = json.loads(_decode(head)), json.loads(_decode(payload))
        standard = base64.b64encode(_decode(signature)).decode()
    except (ValueError, binascii.Error) as error:
        raise VerificationError(f"An attestation cannot be read: {error}") from error
    name = f"The attestation {claims.get('jti')!r} of {claims.get('sub')!r}"
    if header.get("alg") != "EdDSA" or not checks(str(header.get("kid")), f"{head}.{payload}", standard):
        raise VerificationError(f"{name} was not signed by an issuer of this installation: it is forged.")
    if claims.get("aud") != AUDIENCE:
        raise VerificationError(f"{name} is a token for another use: {claims.get('aud')!r}.")
    return Attested(claims["body"], int(claims["iat"]), int(claims["exp"]))


def _decode(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


class DecisionAuditor:
    """Matches the decisions of one tenant's record with attestations."""

    def __init__(self, tenant: str, tokens: Iterable[str], checks: SignatureCheck) -> None:
        """Verify all tokens. Raises VerificationError for the first that is not signed by an issuer of `checks`."""
        self._by_digest: dict[str, Attested] = {}
        self._by_record: dict[str, list[Attested]] = {}
        self._uses: dict[str, set[tuple[Any, ...]]] = {}
        self._problem: str | None = None
        self._proved = 0
        for token in tokens:
            attested = read_attestation(token, checks)
            if attested.body.get("tenant") != tenant:
                raise VerificationError(f"An attestation is of tenant {attested.body.get('tenant')!r}, not {tenant!r}.")
            self._by_digest[sha256(token.encode())] = attested
            if record := attested.body.get("record"):
                self._by_record.setdefault(record, []).append(attested)

    @property
    def proved(self) -> int:
        """Number of decisions that an attestation proves."""
        return self._proved

    def read(self, record: Record) -> None:
        """Check one record, in the order of the sequence. Raises VerificationError."""
        leaf, text = record.leaf, record.body or ""
        # Most records are no decisions of people; these are not parsed.
        if leaf.kind == "audit" or (leaf.kind == "receipt" and any(mark in text for mark in MARKS)):
            self._read(leaf, json.loads(text))

    def _read(self, leaf: Leaf, body: Mapping[str, Any]) -> None:
        if leaf.kind == "receipt":
            self.check_receipt(leaf.subject, leaf.number, body)
        elif leaf.kind == "audit" and body["action"] in RULES:
            self._check_entry(leaf.number, body)
        elif leaf.kind == "audit" and body["action"] == REQUIRED:
            if self._proved:
                raise VerificationError(f"Audit entry {leaf.number} excuses decisions after attested ones.")
            self._problem = None

    def finish(self) -> None:
        """Raise VerificationError for a decision without an attestation that no upgrade excuses."""
        if self._problem:
            raise VerificationError(self._problem)

    def check_receipt(self, run: str, number: int, body: Mapping[str, Any]) -> None:
        """Check the receipt of an action that people allowed, or of an edit. Raises VerificationError."""
        name = f"Receipt {number} of run {run!r}"
        if "edited_to" in body:
            attested = self._find(name, body.get("attestation"))
            if attested:
                claims = {"run": run, "approval": body["approval"], "action": body["action_digest"]}
                _match(name, attested, subject=body["edited_by"], purpose="edit", **claims)
        elif body.get("decision") == "allow" and body.get("reason") == "approval":
            self._check_approval(name, run, body)
        elif body.get("decision") == "allow" and body.get("reason") == "standing grant":
            attested = self._find(name, body.get("attestation"))
            if attested:
                _match(name, attested, subject=body["approved_by"], purpose="grant", record=body["standing_grant"])
                used = self._use(body["standing_grant"], run, body, body["action_digest"])
                if used > attested.body["terms"]["uses"]:
                    raise VerificationError(f"{name} is use {used} of a standing grant for fewer.")

    def _check_approval(self, name: str, run: str, body: Mapping[str, Any]) -> None:
        digests = body.get("attestations")
        if not digests:
            self._find(name, None)
            return
        found = [self._find(name, each) for each in digests]
        attested = [each for each in found if each is not None]
        for each in attested:
            if each.body["purpose"] == "edit":
                _match(name, each, run=run, target=body["action"]["target"])
            else:
                action = {"approval": body["approval"], "action": body["action_digest"]}
                _match(name, each, run=run, purpose="approve", **action)
        if {a["by"] for a in body["approvers"]} != {each.body["subject"] for each in attested}:
            raise VerificationError(f"{name} names other approvers than its attestations.")
        for demand in body["verdict"]["demands"]:
            if len(_supporters(attested, demand["capability"])) < demand["quorum"]:
                raise VerificationError(
                    f"{name} has fewer attested approvals with {demand['capability']!r} than it needs."
                )
        if self._use(body["approval"], run, body) > 1:
            raise VerificationError(f"{name} uses approval {body['approval']!r} a second time.")

    def _use(self, what: str, run: str, body: Mapping[str, Any], *more: str) -> int:
        """Return how many effects used a grant or an approval so far."""
        uses = self._uses.setdefault(what, set())
        uses.add((run, body["execution"], body["activity"], *more))
        return len(uses)

    def _check_entry(self, number: int, entry: Mapping[str, Any]) -> None:
        details, rule, name = entry["details"], RULES[entry["action"]], f"Audit entry {number} ({entry['action']})"
        if entry["action"] == "budget.raised":
            self._check_raise(name, entry)
            return
        if entry["action"] == "constitution.changed" and details.get("state") != "revoked":
            return
        attested = self._find(name, details.get(rule.proof))
        if attested is None:
            return
        claims: dict[str, Any] = {rule.record: entry["subject"], "purpose": rule.purpose or ANSWERS[details["said"]]}
        if entry["action"] == "approval.answered":
            claims |= {name: details[name] for name in ("run", "action", "on_behalf_of")}
        _match(name, attested, subject=entry["actor"], **claims)
        terms = attested.body["terms"]
        if wrong := [term for term in rule.terms if str(terms.get(term)) != details[term]]:
            raise VerificationError(f"{name} differs from its attestation in {', '.join(wrong)}.")
        if not attested.counted_at(entry["at"]):
            raise VerificationError(f"{name} is of {entry['at']}, when its attestation was not valid.")

    def _check_raise(self, name: str, entry: Mapping[str, Any]) -> None:
        details = entry["details"]
        amounts = {dimension: int(details[f"limit_{dimension}"]) for dimension in ("tokens", "micro_usd", "tool_calls")}
        for attested in self._by_record.get(details["key"], ()):
            body = attested.body
            same = (body["purpose"], body["subject"], f"run:{body['run']}") == (
                "raise_budget",
                entry["actor"],
                entry["subject"],
            )
            if same and body["amounts"] == amounts:
                self._proved += 1
                return
        self._find(name, None)

    def _find(self, name: str, digest: Digest | None) -> Attested | None:
        """Return an attestation; None for a decision without one, which only an upgrade excuses."""
        if digest is None:
            self._problem = self._problem or f"{name} has no attestation: no proof that a person decided it."
            return None
        attested = self._by_digest.get(digest)
        if attested is None:
            raise VerificationError(f"{name} names the attestation {digest}, which is gone.")
        self._proved += 1
        return attested


def _supporters(attested: Iterable[Attested], capability: str) -> set[str]:
    """Return the people whose approval counts for a demanded capability."""
    return {
        each.body["subject"] for each in attested if each.body["escalated"] or capability in each.body["capabilities"]
    }


def _match(name: str, attested: Attested, **claims: object) -> None:
    """Raise VerificationError unless an attestation has these claims."""
    for claim, wanted in claims.items():
        if (found := attested.body.get(claim)) != wanted:
            raise VerificationError(f"{name} says {claim} {wanted!r}; its attestation says {found!r}.")
