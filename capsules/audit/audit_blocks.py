"""Audit blocks: a tenant's records in one sequence without gaps, closed in signed blocks.

A leaf is the ASCII text of sequence number, kind, subject, number and hash, joined by newlines. A block's root is the
Merkle root over its leaves. Its digest covers its header, the root and the previous block's digest, and the sealer
signs the digest's text with Ed25519.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from pydantic import Field

from capsules.audit import merkle
from capsules.base_model import FrozenModel
from capsules.digest import Digest, canonical, sha256

RecordKind = Literal["receipt", "audit", "ledger", "run"]


class Leaf(NamedTuple):
    """One record in an audit block."""

    seq: int
    """In the tenant's sequence, from 1."""
    kind: RecordKind
    subject: str
    """receipt, run: the run. ledger: the account. audit: empty."""
    number: int
    """receipt: its number in the run. audit, ledger: the entry's id. run: 1, its admission."""
    hash: Digest

    def leaf_hash(self) -> bytes:
        """Return the leaf's hash in the Merkle tree of its block."""
        return merkle.leaf_hash(f"{self.seq}\n{self.kind}\n{self.subject}\n{self.number}\n{self.hash}".encode())


class Block(FrozenModel):
    """Consecutive leaves of one tenant, closed and signed by the sealer."""

    tenant: str
    height: int = Field(ge=1, description="From 1, without gaps.")
    first: int = Field(ge=1, description="Sequence number of its first leaf.")
    last: int
    root: str = Field(description="Hexadecimal Merkle root over its leaves.")
    previous: Digest = Field(description="Digest of the block before; of none for the first.")
    sealed_at: datetime = Field(description="When the sealer closed the block.")
    digest: Digest
    key_id: str
    signature: str = Field(description="Base64 Ed25519 signature over the digest's ASCII text.")

    def header(self) -> Digest:
        """Return the digest of the block's header, recomputed."""
        return header_digest(self.model_dump(include=HEADER))


HEADER = {"tenant", "height", "first", "last", "root", "previous", "sealed_at"}


def header_digest(header: Mapping[str, Any]) -> Digest:
    """Return the digest of a block's header: the fields of `HEADER`."""
    return sha256(canonical({**header, "sealed_at": f"{header['sealed_at'].astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"}))


class Inclusion(FrozenModel):
    """Inclusion proof: one leaf is in one block. The block is enough to check it; the other leaves are not needed."""

    leaf: Leaf
    height: int
    index: int = Field(ge=0, description="Of the leaf in its block.")
    size: int = Field(ge=1, description="How many leaves the block has.")
    proof: tuple[str, ...] = Field(description="Hexadecimal siblings from the leaf up.")

    def holds(self, block: Block) -> bool:
        """Return whether the leaf is in the block. Does not check the block's signature."""
        siblings = [bytes.fromhex(sibling) for sibling in self.proof]
        return (
            self.height == block.height
            and self.size == block.last - block.first + 1
            and self.leaf.seq == block.first + self.index
            and merkle.verify_inclusion(
                self.leaf.leaf_hash(), self.index, self.size, siblings, bytes.fromhex(block.root)
            )
        )
