"""Expressions of capsule files are read in time that grows with their length and no faster."""

import time

import pytest

from somagent.capsule_files.references import _parsed, _paths


@pytest.mark.parametrize(
    ("chain", "found"),
    [
        ("size(inputs){}", [("inputs",)]),
        ("inputs{}", None),
        ("[inputs.a, 1]{}", [("inputs", "a")]),
    ],
)
@pytest.mark.parametrize("link", [".a", "[0]", '["a"]', "[inputs.b]"])
def test_a_long_chain_takes_linear_time(chain, found, link):
    def seconds(links: int) -> float:
        tree = _parsed(chain.format(link * links))
        taken = []
        for _ in range(5):
            began = time.process_time()
            paths = list(_paths(tree))
            taken.append(time.process_time() - began)
        if found is not None:
            assert set(found) <= set(paths)
        return min(taken)

    # Four times the length: a quadratic walk takes sixteen times as long.
    assert seconds(320) < 10 * max(seconds(80), 1e-4)


def test_the_paths_of_a_chain_with_an_index_that_is_computed():
    tree = _parsed("inputs.a[steps.b.output][0].c")
    assert set(_paths(tree)) == {("inputs", "a"), ("steps", "b", "output")}
