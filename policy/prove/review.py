"""Review: reads a constitution with its overlays and proves its properties within a time limit."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from capsules.constitutions.proof import CheckedConstitution, Proof, ProofReport, Review
from capsules.digest import canonical
from capsules.errors import ConstitutionRefused
from policy.decide.engine import Policy
from policy.language.constitution import document_digest, parse
from policy.prove.overlay import apply_overlays, prove_narrower
from policy.prove.proofs import SECONDS, each_proof

TOTAL_SECONDS = 120.0
"""How long a whole review may take."""

MAX_BYTES = 262_144
"""Of a document as canonical JSON: a hundred articles have a tenth of it."""


@dataclass(frozen=True)
class Candidate:
    """A constitution that could be activated, and the base of its overlays."""

    policy: Policy
    base: Policy | None = None


def load_candidate(document: dict[str, Any], overlays: Sequence[dict[str, Any]] = ()) -> Candidate:
    """Parse and type a document with its overlays. Raises ConstitutionRefused that names every wrong clause."""
    for one in (document, *overlays):
        if (size := _size(one)) > MAX_BYTES:
            raise ConstitutionRefused(f"The document has {size:,} bytes of at most {MAX_BYTES:,}: split or shorten it.")
    base = compile_policy(document)
    return Candidate(compile_policy(apply_overlays(document, overlays)), base) if overlays else Candidate(base)


def compile_policy(document: dict[str, Any]) -> Policy:
    """Parse and type a document. Raises ConstitutionRefused that names every wrong clause."""
    return Policy(parse(document), document_digest(document))


def summarize(found: Candidate, *, kind: str, name: str, version: str) -> CheckedConstitution:
    """Return the summary of a candidate: names, digest, counts of clauses, attributes."""
    document = found.policy.constitution
    return CheckedConstitution(
        kind=kind,
        name=name,
        version=version,
        digest=found.policy.digest,
        articles=len(document.articles),
        approvals=len(document.approvals),
        guarantees=len(document.guarantees),
        reads=tuple(sorted(found.policy.reads)),
    )


def review(
    found: Candidate,
    *,
    seconds: float = SECONDS,
    total: float = TOTAL_SECONDS,
    on_proof: Callable[[Proof], None] = lambda _: None,
) -> Review:
    """Prove everything that activation needs.

    seconds: limit of each property. total: limit of all; a property that is not reached by then is not proved.
    on_proof: called with each proof as soon as it is known.
    """
    began = time.monotonic()
    proofs: list[Proof] = []
    for proof in each_proof(found.policy, seconds=seconds):
        proofs.append(proof)
        on_proof(proof)
        if time.monotonic() - began > total:
            proofs.append(_late(total, len(proofs)))
            on_proof(proofs[-1])
            break
    narrower = prove_narrower(found.base, found.policy, seconds=seconds) if found.base is not None else None
    if narrower is not None:
        on_proof(narrower)
    report = ProofReport(
        constitution=found.policy.digest, proofs=tuple(proofs), seconds=round(time.monotonic() - began, 3)
    )
    holds = report.holds and (narrower is None or narrower.outcome == "proved")
    return Review(report=report, narrower=narrower, holds=holds)


def _size(document: dict[str, Any]) -> int:
    try:
        return len(canonical(document))
    except ValueError as error:
        raise ConstitutionRefused(f"The document cannot be kept as JSON: {error}.") from error


def _late(total: float, known: int) -> Proof:
    why = f"The {total:g} s for all proofs were over after {known} of them; simplify the clauses, or allow more time."
    return Proof(guarantee="in-time", outcome="not proved", sentence=why, seconds=total)
