"""An authority covers what it names and no more, and whatever is made from it covers less."""

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from capsules.budgets.amounts import Amounts
from capsules.digest import digest
from capsules.errors import AuthorityRefused
from capsules.identity.authority import AUTONOMY_ORDER, Authority, narrow

CONSTITUTION = digest({"constitution": 1})
KINDS = ("slm.chat", "tool.invoke", "memory.recall", "artifact.publish", "capsule.start")
TARGETS = ("python@1.0.0/run", "shell@1.0.0/run")
CAPSULES = {f"c{n}@1.0.0": digest({"n": n}) for n in range(3)}
NOW = 1_000

kinds = st.frozensets(st.sampled_from(KINDS))
targets = st.frozensets(st.sampled_from(TARGETS))
capsules = st.frozensets(st.sampled_from(sorted(CAPSULES))).map(lambda refs: {ref: CAPSULES[ref] for ref in refs})
autonomies = st.sampled_from(AUTONOMY_ORDER)
parents = st.builds(
    Authority,
    kind=st.just("run"),
    tenant=st.just("t"),
    actor=st.just("ana"),
    run=st.just("t/p/1"),
    account=st.just("run:t/p/1"),
    capsules=capsules,
    kinds=kinds,
    targets=targets,
    constitution=st.just(CONSTITUTION),
    autonomy=autonomies,
    expires_at=st.integers(NOW + 1, NOW + 100),
)


@given(parents, kinds, targets, capsules, autonomies)
def test_a_child_is_never_wider_than_its_parent(
    parent: Authority, wanted: frozenset[str], aims: frozenset[str], starts: dict[str, str], autonomy: str
) -> None:
    try:
        child = narrow(
            parent,
            run="t/p/1/task",
            capsule="c0@1.0.0",
            account="run:t/p/1/task",
            kinds=wanted,
            targets=aims,
            capsules=starts,  # type: ignore[arg-type]
            constitution=CONSTITUTION,
            autonomy=autonomy,  # type: ignore[arg-type]
        )
    except AuthorityRefused:
        assert not (aims <= parent.targets and starts.items() <= parent.capsules.items())
        return
    assert child.kinds <= parent.kinds
    assert child.targets <= parent.targets
    assert child.capsules.items() <= parent.capsules.items()
    assert child.expires_at <= parent.expires_at
    assert AUTONOMY_ORDER.index(child.autonomy) <= AUTONOMY_ORDER.index(parent.autonomy)
    assert (child.tenant, child.actor) == (parent.tenant, parent.actor)


@given(parents, st.sampled_from(KINDS), st.sampled_from(TARGETS))
def test_what_is_not_named_is_refused(parent: Authority, kind: str, target: str) -> None:
    named = kind in parent.kinds and (kind != "tool.invoke" or target in parent.targets)
    assume(kind != "capsule.start" and not named)
    with pytest.raises(AuthorityRefused):
        parent.check(run=parent.run, kind=kind, target=target, now=NOW)


@pytest.mark.parametrize("run", ["t/p/2", "t/p/10", "u/p/1", "t/p", "t/p/1/task"])
def test_a_run_authority_serves_its_own_run_alone(run: str) -> None:
    authority = Authority(
        kind="run", tenant="t", actor="ana", run="t/p/1", account="a", kinds=frozenset(KINDS), expires_at=NOW + 1
    )
    with pytest.raises(AuthorityRefused):
        authority.check(run=run, kind="slm.chat", target="dialogue", now=NOW)


def test_a_child_runs_under_its_parents_constitution() -> None:
    parent = Authority(
        kind="run", tenant="t", actor="ana", run="t/p/1", account="a", constitution=CONSTITUTION, expires_at=NOW + 1
    )
    with pytest.raises(AuthorityRefused, match="constitution"):
        narrow(
            parent,
            run="t/p/1/x",
            capsule="c0@1.0.0",
            account="b",
            kinds=frozenset(),
            targets=frozenset(),
            capsules={},
            constitution=digest({"another": 1}),
            autonomy="manual",
        )


def test_the_moment_of_expiry_is_too_late() -> None:
    authority = Authority(
        kind="start", tenant="t", actor="ana", run="t/p/1", account="a", capsules=CAPSULES, expires_at=NOW
    )
    with pytest.raises(AuthorityRefused, match="expired"):
        authority.check(run="t/p/1", kind="capsule.start", target="c0@1.0.0", now=NOW)


START = Authority(
    kind="start",
    tenant="t",
    actor="ana",
    run="t/p/1",
    account="a",
    capsules=CAPSULES,
    inputs=digest({"n": 1}),
    budget=Amounts(tool_calls=1),
    nonce="once",
    expires_at=NOW + 1,
)


def test_a_start_authority_starts_what_it_names() -> None:
    START.check_start("c0@1.0.0", CAPSULES["c0@1.0.0"], digest({"n": 1}), Amounts(tool_calls=1))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"content": digest({"n": 1})}, "another content"),
        ({"inputs": digest({"n": 2})}, "another inputs"),
        ({"budget": None}, "another budget"),
        ({"budget": Amounts(tool_calls=2)}, "another budget"),
    ],
)
def test_a_start_authority_starts_nothing_else(changed: dict[str, Any], words: str) -> None:
    start = {"content": CAPSULES["c0@1.0.0"], "inputs": digest({"n": 1}), "budget": Amounts(tool_calls=1)}
    with pytest.raises(AuthorityRefused, match=words):
        START.check_start("c0@1.0.0", **start | changed)


def test_an_authority_that_binds_no_start_starts_nothing() -> None:
    for unbound in ({"inputs": None}, {"nonce": ""}, {"kind": "run"}):
        authority = START.model_copy(update=unbound)
        with pytest.raises(AuthorityRefused, match="does not say what it may start"):
            authority.check_start("c0@1.0.0", CAPSULES["c0@1.0.0"], digest({"n": 1}), Amounts(tool_calls=1))


def test_an_admitted_run_does_not_start_itself_again() -> None:
    admitted = START.model_copy(update={"kind": "run"})
    with pytest.raises(AuthorityRefused, match="not itself again"):
        admitted.check(run="t/p/1", kind="capsule.start", target="c0@1.0.0", now=NOW)
