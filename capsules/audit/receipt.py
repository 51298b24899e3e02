"""Receipts: the hash chain of all decisions and outcomes of a run.

hash = SHA-256 of the previous hash, the sequence number and the digest of the body, as ASCII text joined by newlines.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from capsules.base_model import FrozenModel
from capsules.digest import GENESIS, Digest, digest, sha256


class Receipt(FrozenModel):
    run: str
    seq: int
    at: datetime
    kind: Literal["decision", "outcome"]
    activity: str
    attempt: int
    body: dict[str, Any]
    previous: Digest
    hash: Digest


def link(previous: Digest, seq: int, body_digest: Digest) -> Digest:
    """Return the hash of a receipt."""
    return sha256(f"{previous}\n{seq}\n{body_digest}".encode())


def receipt_columns(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a receipt's row that repeat its body, as the body says them."""
    # Older receipts of these two do not name them.
    unnamed = "run.close" if "status" in body else "approval.edit" if "edited_to" in body else None
    return {
        "activity": body.get("activity", unnamed),
        "at": body.get("at"),
        "attempt": body.get("attempt", 1 if unnamed else None),
        "kind": "decision" if "decision" in body else "outcome",
    }


def _altered_column(receipt: Receipt) -> str | None:
    """Return the name of the first column that does not repeat the body."""
    shown = receipt.model_dump(include={"activity", "attempt", "kind"})
    shown["at"] = f"{receipt.at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
    return next((name for name, value in receipt_columns(receipt.body).items() if shown[name] != value), None)


def verify_chain(receipts: Iterable[Receipt], bodies: Mapping[int, Digest] | None = None) -> str | None:
    """Return None for a whole chain, or a sentence that names the first bad receipt.

    `bodies`: digests of bodies by number, for receipts whose bodies are withheld.
    """
    withheld = bodies or {}
    previous, expected = GENESIS, 1
    for receipt in receipts:
        if receipt.seq != expected:
            return f"Receipt {expected} is missing: the next one found is {receipt.seq}."
        if receipt.previous != previous:
            return f"Receipt {receipt.seq} does not link to the one before it."
        if receipt.hash != link(previous, receipt.seq, withheld.get(receipt.seq) or digest(receipt.body)):
            return f"Receipt {receipt.seq} was altered: its body does not give its hash."
        if receipt.seq not in withheld and (column := _altered_column(receipt)):
            return f"Receipt {receipt.seq} was altered: its {column} is not what its body says."
        previous, expected = receipt.hash, expected + 1
    return None
