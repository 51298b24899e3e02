"""Authority: the signed claims that say who runs what, for which tenant, account and constitution.

A *start authority* comes from the API or a schedule and allows one thing: to start its capsule. Admission exchanges it,
or a parent run's authority, for a *run authority*, which names the tools, children, constitution and account of one
workflow. An authority is never wider than the one it was made from. A *platform authority* comes from the API for one
workflow of the platform itself, such as an activation of a constitution; it covers no governed action.
"""

from typing import Literal, Protocol

from pydantic import Field

from capsules.actions.action import Autonomy
from capsules.base_model import StrictModel
from capsules.budgets.amounts import Amounts
from capsules.digest import Digest
from capsules.errors import AuthorityRefused
from capsules.names import RunId, TenantId

AUTONOMY_ORDER: tuple[Autonomy, ...] = ("manual", "supervised", "autonomous")


class Authority(StrictModel):
    """The claims of an authority token, as verified."""

    kind: Literal["start", "run", "platform"]
    tenant: TenantId
    actor: str = Field(description="The principal on whose behalf everything happens.")
    run: RunId = Field(
        description="`run`: the workflow id. `start`: the workflow id, or its prefix when `prefix` is set."
    )
    workflow_type: str = Field("", description="Type of the workflow that may present it; empty: not bound to one.")
    execution: str | None = Field(
        None, description="`run`: the execution (Temporal run id) that was admitted; its continuations present it too."
    )
    capsule: str = Field("", description="`name@version` that the run runs; a start names it in `capsules`.")
    prefix: bool = Field(False, description="A schedule's authority covers every run whose id begins with `run`.")
    account: str = Field(description="Account that pays; for `start`, the one the run's budget is carved from.")
    capsules: dict[str, Digest] = Field(
        default_factory=dict, description="Capsules it may start: `name@version` to digest."
    )
    kinds: frozenset[str] = Field(frozenset({"capsule.start"}), description="Kinds of action it covers.")
    targets: frozenset[str] = Field(frozenset(), description="Tool actions it covers: `python@1.0.0/run`.")
    constitution: Digest | None = Field(None, description="The pinned constitution; a start has none yet.")
    queue: str = Field("", description="`start`: task queue of the workflow.")
    inputs: Digest | None = Field(None, description="`start`: of the inputs.")
    budget: Amounts | None = Field(None, description="`start`: of the run; unset: the capsule's own.")
    schedule: str | None = Field(None, description="`start`: id of the schedule whose starts alone it covers.")
    nonce: str = Field("", description="`start`: a run is started once with it, and it can be revoked by it.")
    not_before: int = Field(0, description="Unix seconds. A schedule's authority covers no earlier start.")
    lock: Digest | None = Field(None, description="`run`: digest of the lock that says what the run may use.")
    autonomy: Autonomy = "autonomous"
    expires_at: int = Field(description="Unix seconds.")

    def covers_run(self, run: str) -> bool:
        """Return whether a workflow may present this: itself, one of its children, or one of the schedule's runs."""
        if self.prefix:
            return run.startswith(self.run)
        return run == self.run or (self.kind == "run" and run.startswith(self.run + "/"))

    def check(self, *, run: str, kind: str, target: str, now: int) -> None:
        """Raise AuthorityRefused unless this covers an action of `kind` on `target` in `run` at `now`."""
        if now >= self.expires_at:
            raise AuthorityRefused(
                f"The authority of run {self.run!r} expired at {self.expires_at}; start the run again."
            )
        if not self.covers_run(run):
            raise AuthorityRefused(f"The authority is for run {self.run!r}, not for {run!r}.")
        if kind == "capsule.start":
            if self.kind == "run" and run == self.run:
                raise AuthorityRefused(
                    f"Run {run!r} was admitted; its authority starts its children, not itself again."
                )
            if target not in self.capsules:
                known = ", ".join(sorted(self.capsules)) or "none"
                raise AuthorityRefused(f"The authority does not cover starting {target!r}. Covered: {known}.")
            return
        if run != self.run or self.kind != "run":
            raise AuthorityRefused(
                f"Run {run!r} was not admitted: it presents the authority of {self.run!r} for {kind}."
            )
        if kind not in self.kinds:
            raise AuthorityRefused(f"The capsule does not declare {kind}. Covered: {', '.join(sorted(self.kinds))}.")
        if kind == "tool.invoke" and target not in self.targets:
            known = ", ".join(sorted(self.targets)) or "none"
            raise AuthorityRefused(f"The capsule does not declare the tool action {target!r}. Covered: {known}.")

    def check_start(self, capsule: str, content: Digest, inputs: Digest, budget: Amounts | None) -> None:
        """Raise AuthorityRefused unless this start authority is for exactly this content, these inputs and budget."""
        if self.kind != "start" or self.inputs is None or not self.nonce:
            raise AuthorityRefused(
                f"The authority of {self.run!r} does not say what it may start: it is none of a start, or it was made "
                "before starts were bound. Start the run again; unpause a schedule to renew its authority."
            )
        wanted = {"content": self.capsules.get(capsule), "inputs": self.inputs, "budget": self.budget}
        for name, value in {"content": content, "inputs": inputs, "budget": budget}.items():
            if wanted[name] != value:
                raise AuthorityRefused(f"The authority is for another {name} of {capsule} than {value}.")


def least_autonomy(one: Autonomy, other: Autonomy) -> Autonomy:
    return min(one, other, key=AUTONOMY_ORDER.index)


def narrow(  # noqa: PLR0913 - one argument for each thing that can only shrink
    parent: Authority,
    *,
    run: str,
    capsule: str,
    account: str,
    kinds: frozenset[str],
    targets: frozenset[str],
    capsules: dict[str, Digest],
    constitution: Digest,
    autonomy: Autonomy,
    lock: Digest | None = None,
    execution: str | None = None,
) -> Authority:
    """Return the run authority that `parent` grants: the intersection, when the parent is itself a run.

    A `start` authority only names capsules: what the capsule's lock declares, and the constitution allows, is the rest.
    """
    if parent.kind == "run":
        if parent.constitution != constitution:
            raise AuthorityRefused("A child runs under its parent's constitution; the lock names another.")
        missing = targets - parent.targets
        if missing:
            raise AuthorityRefused(
                f"The child wants {', '.join(sorted(missing))}, which its parent does not declare. "
                "Add it to the parent's tools."
            )
        strangers = {ref for ref, content in capsules.items() if parent.capsules.get(ref) != content}
        if strangers:
            raise AuthorityRefused(
                f"The child wants to start {', '.join(sorted(strangers))}, which its parent's lock does not hold."
            )
        kinds &= parent.kinds
    return Authority(
        kind="run",
        tenant=parent.tenant,
        actor=parent.actor,
        run=run,
        execution=execution,
        capsule=capsule,
        account=account,
        capsules=capsules,
        kinds=kinds,
        targets=targets,
        constitution=constitution,
        lock=lock,
        autonomy=least_autonomy(autonomy, parent.autonomy),
        expires_at=parent.expires_at,
    )


class AuthorityVerifier(Protocol):
    def verify(self, token: str, *, expired: bool = False) -> Authority:
        """Return the claims. Raises AuthorityRefused for a token that is forged, malformed or expired.

        expired: accept a token that has expired.
        """
        ...
