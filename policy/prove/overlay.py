"""Overlays: clauses that a tenant or an industry adds to a constitution. Z3 proves that they only make it stricter.

An overlay is a document of kind `Overlay`. Its clauses are added. A clause with the id of a clause of the base replaces
it, and the overlay may raise the thresholds. The result is a constitution with its own digest.
"""

import copy
import time
from collections.abc import Sequence
from typing import Any, Literal, Self

import z3
from pydantic import ConfigDict, Field, ValidationError, model_validator

from capsules.actions.verdict import Verdict
from capsules.base_model import StrictModel
from capsules.constitutions.proof import Proof, Witness
from capsules.errors import ConstitutionRefused
from policy.decide.engine import Policy
from policy.language.clauses import TypedClause
from policy.language.constitution import ApprovalRule, Article, ConstitutionMetadata, Guarantee
from policy.language.constitution import Sequence as Automaton
from policy.language.validation_errors import constitution_error, validation_errors_of
from policy.language.z3_terms import Term, condition_term
from policy.prove.encoder import EncodedDecision, encode, space_of
from policy.prove.witnesses import search, witness

_LENIENCE = {"deny": 0, "ask": 1, "allow": 2}


class RaisedThresholds(StrictModel):
    """Thresholds that replace those of the base."""

    threshold: float | None = Field(None, ge=0, le=1)
    ask_from: float | None = Field(None, ge=0, le=1)


class Overlay(StrictModel):
    """An overlay document."""

    model_config = ConfigDict(populate_by_name=True)

    api_version: Literal["somagent/v1"] = Field(alias="apiVersion")
    kind: Literal["Overlay"]
    metadata: ConstitutionMetadata
    base: str = Field(description="Name of the constitution that this narrows.")
    because: str = ""
    score: RaisedThresholds = RaisedThresholds()
    articles: tuple[Article, ...] = ()
    approvals: tuple[ApprovalRule, ...] = ()
    guarantees: tuple[Guarantee, ...] = ()
    sequences: tuple[Automaton, ...] = ()

    @model_validator(mode="after")
    def _adds_something(self) -> Self:
        if not (
            self.articles or self.approvals or self.sequences or self.guarantees or self.score != RaisedThresholds()
        ):
            raise ValueError("the overlay adds nothing")
        return self


def apply_overlays(base: dict[str, Any], overlays: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the effective document. Raises ConstitutionRefused for an overlay that does not read or fit."""
    document = copy.deepcopy(base)
    names = []
    for raw in overlays:
        overlay = _read(raw, base)
        names.append(f"{overlay.metadata.name}@{overlay.metadata.version}")
        for group in ("sequences", "articles", "approvals", "guarantees"):
            added = raw.get(group, [])
            ids = {clause["id"] for clause in added}
            kept = [clause for clause in document.get(group, []) if clause["id"] not in ids]
            if kept or added:
                document[group] = [*kept, *copy.deepcopy(added)]
        document["score"] |= {name: value for name, value in raw.get("score", {}).items() if value is not None}
    if names:
        document["metadata"] = {**document["metadata"], "overlays": names}
    return document


def prove_narrower(base: Policy, merged: Policy, *, seconds: float = 10.0) -> Proof:
    """Prove that nothing is decided more leniently than by the base, and nobody is asked less."""
    began = time.monotonic()
    name = f"{merged.constitution.metadata.name}-narrows"
    space = space_of([base.clauses, merged.clauses], context=z3.Context())
    wide, narrow = encode(base.clauses, space), encode(merged.clauses, space)
    claims: list[tuple[str, list[Term]]] = [
        ("what was denied is asked or allowed", [wide.deny, z3.Not(narrow.deny)]),
        ("what was asked is allowed", [wide.ask, narrow.allow]),
        *(
            (f"{rule.clause.id!r} asks fewer or others", _asked_less(wide, narrow, rule))
            for rule in base.clauses.approvals
        ),
    ]
    for what, claim in claims:
        found = search(claim, (space,), milliseconds=int(seconds * 1000))
        spent = round(time.monotonic() - began, 3)
        if not found.decided:
            sentence = f"Whether {what} under the overlay is not decided within {seconds:g} s."
            return Proof(guarantee=name, outcome="not proved", sentence=sentence, seconds=spent)
        if found.model is not None:
            witnesses = (witness(base, space, found), witness(merged, space, found))
            sentence = f"The overlay widens: {what}. The first verdict is the base's, the second with the overlay."
            outcome: Literal["refuted", "not proved"] = "refuted" if _widens(witnesses) else "not proved"
            return Proof(guarantee=name, outcome=outcome, sentence=sentence, witnesses=witnesses, seconds=spent)
    sentence = "With the overlay, no action is decided more leniently, and nobody is asked less."
    return Proof(guarantee=name, outcome="proved", sentence=sentence, seconds=round(time.monotonic() - began, 3))


def _asked_less(wide: EncodedDecision, narrow: EncodedDecision, rule: TypedClause[ApprovalRule]) -> list[Term]:
    """Return the claim that a rule of the base asks, and no rule as strict asks with the overlay."""
    as_strict = [
        condition_term(t.tree, narrow.space) for t in narrow.clauses.approvals if _as_strict(t.clause, rule.clause)
    ]
    return [wide.ask, condition_term(rule.tree, wide.space), narrow.ask, *(z3.Not(term) for term in as_strict)]


def _as_strict(rule: ApprovalRule, than: ApprovalRule) -> bool:
    later = {step.capability: step.after for step in than.escalate}
    return (
        rule.capability == than.capability
        and rule.quorum >= than.quorum
        and rule.expires <= than.expires
        and all(step.after >= later.get(step.capability, step.after + 1) for step in rule.escalate)
    )


def _widens(witnesses: tuple[Witness, Witness]) -> bool:
    one, other = witnesses[0].verdict, witnesses[1].verdict
    return _LENIENCE[other.decision] > _LENIENCE[one.decision] or (
        one.decision == other.decision == "ask" and _terms(one) != _terms(other)
    )


def _terms(verdict: Verdict) -> object:
    return verdict.demands, verdict.escalation, verdict.expires_seconds


def _read(raw: dict[str, Any], base: dict[str, Any]) -> Overlay:
    try:
        overlay = Overlay.model_validate(raw)
    except ValidationError as error:
        raise constitution_error("The overlay does not read", validation_errors_of(error, raw)) from error
    named = base["metadata"]["name"]
    if overlay.base != named:
        raise ConstitutionRefused(f"The overlay {overlay.metadata.name!r} is for {overlay.base!r}, not for {named!r}.")
    here = {sequence["id"]: sequence for sequence in base.get("sequences", [])}
    for sequence in raw.get("sequences", []):
        if here.get(sequence["id"], sequence) != sequence:
            raise ConstitutionRefused(
                f"The overlay {overlay.metadata.name!r} changes the sequence {sequence['id']!r}, which clauses of the "
                "base read; add one with another id."
            )
    return overlay
