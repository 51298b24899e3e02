"""Auditor: recomputes a tenant's audit record, or one run's receipts, from the bytes and checks every link.

`Auditor` takes blocks with their records in sequence order and stops at the first error. It needs no server and no
database, and claims nothing about records that it was not given.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from pydantic import Field
from pydantic_core import from_json

from capsules.audit import merkle
from capsules.audit.audit_blocks import Block, Inclusion, Leaf
from capsules.audit.ledger_entry import LedgerRecord, quote
from capsules.audit.receipt import Receipt, link, receipt_columns, verify_chain
from capsules.base_model import FrozenModel
from capsules.digest import GENESIS, Digest, sha256

SignatureCheck = Callable[[str, str, str], bool]
"""Returns whether a key's Base64 signature over a text holds: key id, text, signature."""
RecordReader = Callable[["Record"], None]
"""Takes each record after its check."""


class AuditEntry(FrozenModel):
    """The record of one change to something that governs runs: who changed what, and when."""

    id: int
    at: datetime
    actor: str
    action: str = Field(description="What was done: `capsule.published`, `budget.raised`.")
    subject: str = Field(description="What it was done to.")
    body: dict[str, Any] = Field(description="All of it, as it was hashed.")
    hash: Digest


class Record(NamedTuple):
    """A leaf of an audit block with the record it covers."""

    leaf: Leaf
    body: str | None
    """Canonical JSON, as it was hashed; None when the record is gone."""
    previous: Digest | None
    """receipt: hash of the receipt before it in its run."""
    columns: dict[str, Any] | LedgerRecord | None = None
    """receipt, audit: columns that repeat a part of the body, for lists and queries. ledger: all; it has no body."""


class VerificationError(Exception):
    """A record fails its verification; names the first error. Nothing after it was checked."""


class Auditor:
    """Checks one tenant's record: signatures, chain of blocks, gaps, roots, every record and every run's own chain."""

    def __init__(self, tenant: str, checks: SignatureCheck, read: RecordReader | None = None) -> None:
        self.tenant = tenant
        self.blocks = 0
        self.leaves = 0
        self.head: Digest = GENESIS
        self._checks = checks
        self._read = read
        self._runs: dict[str, tuple[int, Digest]] = {}

    @property
    def runs(self) -> int:
        return len(self._runs)

    def check_block(self, block: Block, records: Iterable[Record]) -> None:
        """Check the next block and its records. Raises VerificationError."""
        self._check_header(block)
        hashes = []
        for record in records:
            expected = self.leaves + 1
            if record.leaf.seq != expected:
                raise VerificationError(
                    f"Sequence number {expected} is missing from block {block.height}: the next one found is "
                    f"{record.leaf.seq}."
                )
            self._check_record(record)
            hashes.append(record.leaf.leaf_hash())
            self.leaves = expected
        if self.leaves != block.last:
            raise VerificationError(
                f"Block {block.height} covers up to sequence number {block.last}; {self.leaves + 1} is missing."
            )
        if merkle.root(hashes).hex() != block.root:
            raise VerificationError(
                f"The leaves {block.first} to {block.last} do not give the root of block {block.height}: one changed."
            )
        self.blocks, self.head = block.height, block.digest

    def check_anchors(self, anchors: Iterable[dict[str, Any]], blocks: Callable[[int], Digest | None]) -> int:
        """Compare anchors with the blocks and return how many match. Raises VerificationError."""
        matching = 0
        for kept in anchors:
            if kept["tenant"] != self.tenant:
                continue
            found = blocks(kept["height"])
            if found is None:
                raise VerificationError(
                    f"Block {kept['height']} was anchored and is gone: the record was cut off after it."
                )
            if found != kept["digest"]:
                raise VerificationError(f"Block {kept['height']} is not the one that was anchored: it was made anew.")
            matching += 1
        return matching

    def _check_header(self, block: Block) -> None:
        name = f"Block {block.height}"
        if block.height != self.blocks + 1:
            raise VerificationError(f"Block {self.blocks + 1} is missing: the next one found is {block.height}.")
        if block.tenant != self.tenant:
            raise VerificationError(f"{name} is of tenant {block.tenant!r}, not {self.tenant!r}.")
        if block.previous != self.head:
            raise VerificationError(f"{name} does not follow the one before it.")
        if block.first != self.leaves + 1:
            raise VerificationError(f"{name} begins at sequence number {block.first}; {self.leaves + 1} comes next.")
        check_block_signature(block, self._checks)

    def _check_record(self, record: Record) -> None:
        leaf, text, _, columns = record
        if leaf.kind == "ledger" and columns is not None:
            text = LedgerRecord(*columns).text()
        if text is None:
            raise VerificationError(
                f"{_describe(leaf)} is gone; the audit block holds it as sequence number {leaf.seq}."
            )
        body = entry_digest(text)
        if leaf.kind == "receipt":
            self._check_link(record, body)
            if isinstance(columns, dict):
                _check_receipt_columns(leaf, text, columns)
        elif body != leaf.hash:
            raise VerificationError(
                f"{_describe(leaf)} was altered: its body does not give the hash in the audit block."
            )
        elif leaf.kind == "audit" and isinstance(columns, dict):
            _check_columns(leaf, from_json(text), columns)
        if self._read is not None:
            self._read(record)

    def _check_link(self, record: Record, body: Digest) -> None:
        leaf = record.leaf
        number, head = self._runs.get(leaf.subject, (0, GENESIS))
        if leaf.number != number + 1:
            raise VerificationError(
                f"Receipt {number + 1} of run {leaf.subject!r} is missing: {leaf.number} comes next in the audit block."
            )
        if record.previous != head:
            raise VerificationError(f"{_describe(leaf)} does not link to the one before it.")
        if link(head, leaf.number, body) != leaf.hash:
            raise VerificationError(
                f"{_describe(leaf)} was altered: its body does not give the hash in the audit block."
            )
        self._runs[leaf.subject] = leaf.number, leaf.hash


def check_block_signature(block: Block, checks: SignatureCheck) -> None:
    """Check a block's digest and its signature by the sealer. Raises VerificationError."""
    if block.header() != block.digest:
        raise VerificationError(f"Block {block.height} was altered: its header does not give its digest.")
    if not checks(block.key_id, block.digest, block.signature):
        raise VerificationError(
            f"The signature of block {block.height} by key {block.key_id!r} does not hold: no sealer's key of this "
            "installation signed it."
        )


def entry_digest(body: str) -> Digest:
    """Return the hash of an audit entry's canonical body."""
    return sha256(body.encode())


def group_by_block(blocks: Iterable[Block], records: Iterable[Record]) -> Iterator[tuple[Block, list[Record]]]:
    """Yield each block with its records. Both are in the order of the sequence.

    Raises VerificationError for a record that is in no block.
    """
    coming = iter(records)
    waiting = next(coming, None)
    for block in blocks:
        own = []
        while waiting is not None and waiting.leaf.seq <= block.last:
            own.append(waiting)
            waiting = next(coming, None)
        yield block, own
    if waiting is not None:
        raise VerificationError(
            f"Sequence number {waiting.leaf.seq} is in no block: it was added outside the audit blocks."
        )


def _check_receipt_columns(leaf: Leaf, body: str, columns: Mapping[str, Any]) -> None:
    """Check that the columns of a receipt repeat its body, which is parsed only if its text does not show that at once.

    A name with its quotes and colon stands in JSON only as a name: in a string the quotes are escaped.
    """
    at_once = (
        body.count('"activity":') == body.count('"attempt":') == 1
        and f'"activity":{quote(columns["activity"])},' in body
        and f'"at":"{columns["at"]}","attempt":{columns["attempt"]},' in body
        and columns["kind"] == ("decision" if '"decision":' in body else "outcome")
    )
    if not at_once:
        _check_columns(leaf, receipt_columns(from_json(body)), columns)


def _check_columns(leaf: Leaf, body: Mapping[str, Any], columns: Mapping[str, Any]) -> None:
    for name, shown in columns.items():
        if body.get(name) != shown:
            raise VerificationError(
                f"{_describe(leaf)} was altered: it shows {name} {shown!r}, and its body says {body.get(name)!r}."
            )


def _describe(leaf: Leaf) -> str:
    match leaf.kind:
        case "receipt":
            return f"Receipt {leaf.number} of run {leaf.subject!r}"
        case "audit":
            return f"Audit entry {leaf.number}"
        case "ledger":
            return f"Ledger entry {leaf.number} of account {leaf.subject!r}"
        case "run":
            return f"The row of run {leaf.subject!r}"


class RunCheck(NamedTuple):
    """Result of `check_run`: numbers of receipts, receipts in a block, blocks, and receipts that wait for a block."""

    receipts: int
    sealed: int
    """Receipts with a proof of inclusion in a block."""
    blocks: int
    waiting: int
    """Receipts at the end of the chain that no block covers yet."""


def check_run(  # noqa: PLR0913, PLR0917 - what a run leaves
    run: str,
    receipts: Sequence[Receipt],
    proofs: Iterable[Inclusion],
    blocks: Iterable[Block],
    checks: SignatureCheck,
    withheld: Mapping[int, Digest] | None = None,
) -> RunCheck:
    """Check a run's receipts against the blocks that hold them. Raises VerificationError with the first bad item.

    `withheld`: digests of the bodies that are not shown, by the receipts' numbers.
    """
    if problem := verify_chain(receipts, withheld):
        raise VerificationError(f"{problem} (run {run!r})")
    blocks_by_height = {block.height: block for block in blocks}
    for block in blocks_by_height.values():
        check_block_signature(block, checks)
    sealed = 0
    for proof in proofs:
        leaf = proof.leaf
        name = f"Receipt {leaf.number} of run {run!r}"
        if leaf.kind != "receipt" or leaf.subject != run or leaf.number != sealed + 1:
            raise VerificationError(
                f"Receipt {sealed + 1} of run {run!r} has no proof of inclusion, and later ones have."
            )
        if leaf.number > len(receipts):
            raise VerificationError(f"{name} is gone; the audit block holds it as sequence number {leaf.seq}.")
        if receipts[leaf.number - 1].hash != leaf.hash:
            raise VerificationError(f"{name} is not the one that the audit block holds as sequence number {leaf.seq}.")
        if proof.height not in blocks_by_height or not proof.holds(blocks_by_height[proof.height]):
            raise VerificationError(f"{name} is not in block {proof.height}: its proof does not lead to the root.")
        sealed = leaf.number
    return RunCheck(len(receipts), sealed, len(blocks_by_height), len(receipts) - sealed)
