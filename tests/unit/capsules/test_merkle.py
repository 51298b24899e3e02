"""Merkle trees: roots, inclusion proofs, and what they refuse, against the definition in RFC 9162. No invented values."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capsules.audit.merkle import inclusion_proof, leaf_hash, node_hash, root, verify_inclusion

leaves = st.lists(st.binary(max_size=40).map(leaf_hash), min_size=1, max_size=70)


def root_by_definition(hashes: list[bytes]) -> bytes:
    """The RFC's own recursion: split at the greatest power of two below n."""
    if len(hashes) == 1:
        return hashes[0]
    split = 1 << ((len(hashes) - 1).bit_length() - 1)
    return node_hash(root_by_definition(hashes[:split]), root_by_definition(hashes[split:]))


@given(leaves)
def test_the_root_is_the_one_that_the_rfc_defines(hashes: list[bytes]) -> None:
    assert root(hashes) == root_by_definition(hashes)


def test_the_root_of_nothing_and_the_prefixes_are_the_rfcs() -> None:
    assert root([]) == hashlib.sha256(b"").digest()
    assert leaf_hash(b"") == hashlib.sha256(b"\x00").digest()
    assert node_hash(b"a", b"b") == hashlib.sha256(b"\x01ab").digest()


@given(leaves, st.data())
def test_every_leaf_is_proved_in_its_place_and_nowhere_else(hashes: list[bytes], data: st.DataObject) -> None:
    size = len(hashes)
    index = data.draw(st.integers(0, size - 1))
    proof = inclusion_proof(hashes, index)
    assert len(proof) <= (size - 1).bit_length()
    assert verify_inclusion(hashes[index], index, size, proof, root(hashes))
    other = data.draw(st.integers(0, size - 1).filter(lambda n: hashes[n] != hashes[index]) | st.none())
    if other is not None:
        assert not verify_inclusion(hashes[other], index, size, proof, root(hashes))
    assert not verify_inclusion(leaf_hash(b"\x00" + hashes[index]), index, size, proof, root(hashes))
    assert not verify_inclusion(hashes[index], index, size, (*proof, hashes[0]), root(hashes)), "a proof too long"
    assert not verify_inclusion(hashes[index], index, size + size, proof, root(hashes)), "another size"
    if proof:
        assert not verify_inclusion(hashes[index], index, size, proof[:-1], root(hashes)), "a proof too short"


@pytest.mark.parametrize("index", [-1, 3])
def test_a_leaf_that_is_not_there_has_no_proof(index: int) -> None:
    with pytest.raises(IndexError):
        inclusion_proof([leaf_hash(b"a")] * 3, index)
    assert not verify_inclusion(leaf_hash(b"a"), index, 3, (), leaf_hash(b"a"))
