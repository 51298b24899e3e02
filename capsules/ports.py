"""Ports: what the inside needs of the outside. Adapters in `somagent` and `sandbox` implement them.

Each adapter has a suite of its own on the real thing (`tests/store`, `tests/slm`, `tests/sandbox`, …) that holds what
is written here. Every method may raise Unavailable.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from capsules.account import Account
from capsules.approval import ApprovalDecision, BudgetRaised, DecisionMade, Escalate, Expire, RaiseBudget
from capsules.authority import Authority
from capsules.chat import Completion, Message
from capsules.constituting import Conclusion, Examination, Findings, Heard, Mirrored, Proposal, Step, Voice
from capsules.container import ContainerResult, ContainerSpec
from capsules.digest import Digest
from capsules.editing import ApprovalEdit, EditMade
from capsules.forecast import Forecast
from capsules.gate import AttemptKey, Entry, Exit, HistoryAsked, LedgerFacts, Passage, Settled
from capsules.memory import Embeddings, MemoryItem
from capsules.rate import Bound, Slow
from capsules.run import Admission, Closed, CloseRun, RunUpdate, StartCapsule
from capsules.tool import ToolAnswer, ToolCall


class ContentStore(Protocol):
    """Bytes by digest, a tenant apart from the next."""

    async def put(self, tenant: str, data: bytes, media_type: str) -> Digest: ...

    async def get(self, tenant: str, digest: Digest) -> bytes:
        """Return the bytes. Raises NotFound, or TamperedContent when they do not match the digest."""
        ...


class ModelClient(Protocol):
    """A model that answers. `on_delta` gets each piece of text as it is written."""

    async def complete(  # noqa: PLR0913
        self,
        messages: tuple[Message, ...],
        *,
        role: str,
        answer: dict[str, Any] | None,
        max_output_tokens: int,
        temperature: float,
        on_delta: Callable[[str], Awaitable[None]] | None = None,
    ) -> Completion:
        """Answer. Raises EffectFailed for a request the provider rejects, RateLimited or Unavailable for the rest."""
        ...


class Embedder(Protocol):
    """Texts to unit vectors of `dimensions` numbers."""

    dimensions: int

    async def embed(self, texts: tuple[str, ...]) -> Embeddings: ...


class Memories(Protocol):
    """What runs leave for later runs."""

    async def remember(  # noqa: PLR0913
        self, tenant: str, *, run: str, key: str, space: str, text: str, labels: dict[str, str]
    ) -> str:
        """Store a text and return its id. The same `key` twice is one item."""
        ...

    async def recall(self, tenant: str, *, space: str, query: str, limit: int) -> tuple[MemoryItem, ...]:
        """Return the most similar items, best first."""
        ...


class Foresight(Protocol):
    """What a start would take."""

    async def of(self, tenant: str, request: StartCapsule) -> Forecast:
        """Forecast a run before it is admitted. Raises NotFound for a capsule that is not published."""
        ...


class RateWindows(Protocol):
    """How much was begun under an account in the last sixty seconds."""

    async def take(self, tenant: str, bounds: Sequence[Bound], *, effect: str, tokens: int) -> Slow | None:
        """Count an effect under every bound, or under none and say how long to wait. Again is the same effect."""
        ...

    async def correct(self, tenant: str, bounds: Sequence[Bound], *, effect: str, tokens: int | None) -> None:
        """Count what an effect really used; None: it did not take place."""
        ...


class Sandbox(Protocol):
    """Runs a container once for a key, inside hard limits."""

    async def run(self, spec: ContainerSpec, *, key: str) -> ContainerResult:
        """Run, or pick up the run that an earlier caller with the same key began. Cancelling stops the container."""
        ...

    async def discard(self, key: str) -> None:
        """Remove what is kept for `key`; called when the result is safe."""
        ...


class ToolExecutor(Protocol):
    """Runs the actions of the tools of one kind. `tests/support/executor_contract.py` holds each one to this.

    It stays within `seconds` and `output_bytes` of the tool's limits. Hitting one is an answer that is not ok, or is
    cut, and says so in `error`.
    """

    async def execute(self, call: ToolCall, *, key: AttemptKey) -> ToolAnswer:
        """Run the action, or pick up what an earlier call with the same `key.effect` began. Cancelling stops it.

        The tool is the one that the run has locked, and the arguments fit the action's schema. An action that fails
        is an answer that is not ok. Raises Conflict when the key was used for another call, Unavailable when what the
        tool needs cannot be reached.
        """
        ...

    async def discard(self, key: AttemptKey) -> None:
        """Forget what is kept for the key. Called when the answer is safe; nothing kept is fine."""
        ...


class TokenStream(Protocol):
    """Live pieces of a model's reply, for people who watch. May be lost; never raises."""

    async def publish(self, tenant: str, run: str, *, step: int, attempt: int, text: str) -> None: ...


class Admissions(Protocol):
    """Admits a run: lock, account, authority. Idempotent by run."""

    async def admit(self, request: StartCapsule, *, run: str, authority: Authority) -> Admission: ...


class Runs(Protocol):
    """The projection of runs, and their closing."""

    async def record(self, update: RunUpdate) -> None: ...

    async def close(self, closing: CloseRun) -> Closed:
        """End the run: account settled and returned to its parent, row and event written. Idempotent."""
        ...

    async def account(self, run: str, tenant: str) -> Account:
        """Return the run's account. Raises NotFound before the run was admitted."""
        ...


class Decisions(Protocol):
    """What people decide, checked against the token of who decides."""

    async def decide(self, run: str, tenant: str, decision: ApprovalDecision, *, approve: bool) -> DecisionMade: ...

    async def edit(self, run: str, tenant: str, edit: ApprovalEdit, *, into: Digest) -> EditMade: ...

    async def escalate(self, tenant: str, request: Escalate) -> None: ...

    async def expire(self, tenant: str, request: Expire) -> DecisionMade: ...

    async def raise_budget(self, run: str, tenant: str, request: RaiseBudget, *, key: str) -> BudgetRaised: ...


class ConstitutionSteps(Protocol):
    """The steps by which a constitution becomes the active one. Each is written down; each may run again."""

    async def examine(self, run: str, proposal: Proposal) -> Examination:
        """Check who proposes, the signatures, and that it is no older version. Raises Denied, ConstitutionRefused."""
        ...

    async def prove(self, step: Step, *, alive: Callable[[], None]) -> Findings:
        """Prove. Calls `alive` every few seconds, and so do the others that take long."""
        ...

    async def compare(self, step: Step, *, alive: Callable[[], None]) -> Findings: ...

    async def hear(self, run: str, voice: Voice) -> Heard: ...

    async def activate(self, step: Step) -> None:
        """Make it active. Raises Conflict when another one became active since it was examined."""
        ...

    async def mirror(self, step: Step, *, alive: Callable[[], None]) -> Mirrored: ...

    async def conclude(self, conclusion: Conclusion) -> None: ...


class AuthorityVerifier(Protocol):
    def verify(self, token: str) -> Authority:
        """Return the claims. Raises AuthorityRefused when the token is forged or malformed."""
        ...


class Ledger(Protocol):
    """Grants, budgets and receipts, in one transaction before an effect and one after it."""

    async def facts(
        self, tenant: str, run: str, account: str | None, constitution: Digest, asked: HistoryAsked | None = None
    ) -> LedgerFacts: ...

    async def active_constitution(self, tenant: str) -> Digest:
        """Return the digest of the active constitution. Raises ConstitutionRefused when there is none."""
        ...

    async def begin(self, entry: Entry) -> Passage: ...

    async def finish(self, exit_: Exit) -> Settled: ...
