"""Merkle trees as in RFC 9162 §2.1: leaves and nodes are hashed under different prefixes and cannot be confused.

All hashes are SHA-256, 32 raw bytes. The tree of n leaves splits at the greatest power of two below n. Joining
neighbours level by level gives the same tree when an odd last node goes up unchanged.
"""

import hashlib
from collections.abc import Iterable, Sequence

LEAF, NODE = b"\x00", b"\x01"


def leaf_hash(data: bytes) -> bytes:
    return hashlib.sha256(LEAF + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(NODE + left + right).digest()


def root(hashes: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes; over none, SHA-256 of nothing."""
    level = list(hashes)
    while len(level) > 1:
        level = _above(level)
    return level[0] if level else hashlib.sha256().digest()


def inclusion_proof(hashes: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """Return the sibling at each level from the leaf up. Raises IndexError for a leaf that is not there."""
    if not 0 <= index < len(hashes):
        raise IndexError(f"There is no leaf {index} of {len(hashes)}.")
    proof = []
    level = list(hashes)
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            proof.append(level[sibling])
        level, index = _above(level), index // 2
    return tuple(proof)


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Iterable[bytes], expected: bytes) -> bool:
    """Return whether a proof leads from a leaf's hash, the `index`-th of `size`, to the expected root."""
    if not 0 <= index < size:
        return False
    siblings = iter(proof)
    found, last = leaf, size - 1
    while last:
        if index % 2 or index < last:
            sibling = next(siblings, None)
            if sibling is None:
                return False
            found = node_hash(sibling, found) if index % 2 else node_hash(found, sibling)
        index, last = index // 2, last // 2
    return next(siblings, None) is None and found == expected


def _above(level: list[bytes]) -> list[bytes]:
    pairs = zip(level[::2], level[1::2], strict=False)
    above = [node_hash(left, right) for left, right in pairs]
    if len(level) % 2:
        above.append(level[-1])
    return above
