"""Audit of projections: what the rows of runs and accounts show, compared with the records in audit blocks.

`ProjectionAuditor.read` takes every record in audit blocks in order. A row may be newer than the last block, so it
comes with the records about it that are in no block yet.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field
from pydantic_core import from_json

from capsules.audit.auditor import Record, VerificationError
from capsules.audit.ledger_audit import LedgerAuditor
from capsules.audit.ledger_entry import LedgerRecord
from capsules.audit.receipt import Receipt
from capsules.base_model import FrozenModel
from capsules.digest import GENESIS, Digest, canonical


class ShownRun(FrozenModel):
    """A run as its row shows it, with its closing receipt when that is newer than the last block."""

    id: str
    actor: str
    capsule: str
    status: str
    reason: str
    output: Digest | None = Field(description="Digest of the output that is shown; none after its deletion.")
    artifact: Digest | None
    ended: bool
    receipts: int
    head: Digest
    decisions: int
    denials: int
    closing: str | None = Field(None, description="Canonical text of the closing receipt that is in no block yet.")


@dataclass
class _Run:
    """What the records in audit blocks say of a run."""

    receipts: int = 0
    head: Digest = GENESIS
    decisions: int = 0
    denials: int = 0
    actor: str | None = None
    capsule: str | None = None
    closing: Mapping[str, Any] | None = None

    def add(self, number: int, head: Digest, text: str) -> None:
        """Add the next receipt. Most are parsed no further than to see that they change nothing else here."""
        self.receipts, self.head = number, head
        if '"decision":' in text:
            self.decisions += 1
            if self.actor is None or '"decision":"deny"' in text:
                body = from_json(text)
                self.denials += body["decision"] == "deny" and body["reason"] == "policy"
                self.actor, self.capsule = self.actor or body.get("actor"), self.capsule or body.get("capsule")
        elif '"status":' in text:
            self.closing = from_json(text)


class ProjectionAuditor:
    """Collects what a tenant's records in audit blocks say of runs and accounts, and checks the rows against it."""

    def __init__(self) -> None:
        self.ledger = LedgerAuditor()
        self._runs: dict[str, _Run] = defaultdict(_Run)

    def read(self, record: Record) -> None:
        """Take the next record of the blocks. Raises VerificationError for an impossible ledger entry."""
        leaf, body, _, columns = record
        if leaf.kind == "ledger" and columns is not None:
            self.ledger.add(LedgerRecord(*columns))
        elif leaf.kind == "receipt" and body is not None:
            self._runs[leaf.subject].add(leaf.number, leaf.hash, body)

    def check_runs(self, shown: Iterable[ShownRun]) -> int:
        """Compare the rows of all runs with the records in audit blocks, and return the number of runs."""
        rows = tuple(shown)
        missing = set(self._runs)
        for run in rows:
            _check_run(run, self._runs.get(run.id) or _Run())
            missing.discard(run.id)
        if missing:
            raise VerificationError(f"Run {min(missing)!r} is gone; the audit blocks hold receipts of it.")
        return len(rows)


def check_run_row(shown: ShownRun, receipts: Iterable[Receipt]) -> None:
    """Compare the row of one run with its receipts, read after the row. Raises VerificationError."""
    known = _Run()
    for receipt in receipts:
        if receipt.seq <= shown.receipts:
            known.add(receipt.seq, receipt.hash, canonical(receipt.body).decode())
    _check_run(shown, known)


def _check_run(run: ShownRun, known: _Run) -> None:
    name = f"Run {run.id!r}"
    if run.receipts < known.receipts:
        raise VerificationError(f"{name} shows {run.receipts} receipts; the audit blocks hold {known.receipts}.")
    if run.receipts == known.receipts:
        _compare(name, run, {"head": known.head, "decisions": known.decisions, "denials": known.denials})
    if known.actor is not None:
        _compare(name, run, {"actor": known.actor, "capsule": known.capsule})
    closing = known.closing or (from_json(run.closing) if run.closing else None)
    if closing is None:
        if run.ended:
            raise VerificationError(f"{name} shows that it is {run.status}, and no receipt ended it.")
        return
    if not run.ended:
        raise VerificationError(f"{name} shows that it is open; a receipt ended it as {closing['status']}.")
    _compare(name, run, {"status": closing["status"], "reason": closing["reason"], "artifact": closing["artifact"]})
    if run.output is not None and run.output != closing["output"]:
        raise VerificationError(f"{name} shows another output than the one with which it ended.")


def _compare(name: str, run: ShownRun, recorded: Mapping[str, Any]) -> None:
    for field, value in recorded.items():
        if getattr(run, field) != value:
            raise VerificationError(f"{name} shows {field} {getattr(run, field)!r}; its receipts say {value!r}.")
