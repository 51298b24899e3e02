"""The check of one run: its receipts' chain, and that each is in a signed block. Needs no other run's records."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from capsules.audit import Checks, Unsound, signed_block
from capsules.digest import Digest
from capsules.receipt import Receipt, verify_chain
from capsules.sealed import Block, Inclusion


class RunChecked(NamedTuple):
    """What holds of a run."""

    receipts: int
    sealed: int
    blocks: int
    waiting: int
    """Receipts at the end of the chain that no block seals yet."""


def check_run(  # noqa: PLR0913, PLR0917 - what a run leaves
    run: str,
    receipts: Sequence[Receipt],
    proofs: Iterable[Inclusion],
    blocks: Iterable[Block],
    checks: Checks,
    withheld: Mapping[int, Digest] | None = None,
) -> RunChecked:
    """Check a run's receipts against the blocks that seal them. Raises Unsound with the first bad item.

    `withheld`: digests of the bodies that are not shown, by the receipts' numbers.
    """
    if problem := verify_chain(receipts, withheld):
        raise Unsound(f"{problem} (run {run!r})")
    sealing = {block.height: block for block in blocks}
    for block in sealing.values():
        signed_block(block, checks)
    sealed = 0
    for proof in proofs:
        leaf = proof.leaf
        name = f"Receipt {leaf.number} of run {run!r}"
        if leaf.kind != "receipt" or leaf.subject != run or leaf.number != sealed + 1:
            raise Unsound(f"Receipt {sealed + 1} of run {run!r} has no proof of inclusion, and later ones have.")
        if leaf.number > len(receipts):
            raise Unsound(f"{name} is gone; sequence number {leaf.seq} seals it.")
        if receipts[leaf.number - 1].hash != leaf.hash:
            raise Unsound(f"{name} is not the one that was sealed as sequence number {leaf.seq}.")
        if proof.height not in sealing or not proof.holds(sealing[proof.height]):
            raise Unsound(f"{name} is not in block {proof.height}: its proof does not lead to the root.")
        sealed = leaf.number
    return RunChecked(len(receipts), sealed, len(sealing), len(receipts) - sealed)
