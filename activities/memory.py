"""Memory: `slm.embed`, `memory.remember` and `memory.recall`, texts that runs store for later runs."""

from temporalio import activity

from capsules.actions.action import Action
from capsules.actions.activity_context import current_context
from capsules.actions.verdict import Outcome
from capsules.budgets.amounts import Amounts
from capsules.digest import digest, sha256
from capsules.errors import AuthorityRefused
from capsules.memory.items import (
    Embedder,
    Embeddings,
    EmbedRequest,
    Memories,
    RecallQuery,
    RecallResult,
    Remember,
    RememberResult,
)
from capsules.runs.lock import Lock, require_lock


def embed_action(request: EmbedRequest) -> Action:
    """Return the action of an embedding; its cost bound is one token for each byte."""
    tokens = sum(len(text.encode()) for text in request.texts)
    return Action(kind="slm.embed", target="embedding", cost=Amounts(tokens=tokens), arguments=digest(request))


def locked_memory(request: Remember, lock: Lock | None) -> Remember:
    """Return the memory with the capsule of the lock as label. Raises AuthorityRefused for another space."""
    locked = _require_space(request.space, lock)
    return request.model_copy(update={"labels": {**request.labels, "capsule": locked.capsule.ref}})


def locked_query(query: RecallQuery, lock: Lock | None) -> RecallQuery:
    """Return the query. Raises AuthorityRefused for another space, or for more memories, than the lock names."""
    recall = _require_space(query.space, lock).capsule.spec.memory.recall
    if recall is None or query.limit > recall.limit:
        raise AuthorityRefused(f"{query.limit} memories are more than the run's lock allows.")
    return query


def _require_space(space: str, lock: Lock | None) -> Lock:
    locked = require_lock(lock)
    if space != locked.capsule.spec.memory.space:
        raise AuthorityRefused(
            f"The run's lock has the memory space {locked.capsule.spec.memory.space!r}, not {space!r}."
        )
    return locked


def remember_action(request: Remember) -> Action:
    """Return the action of storing a memory."""
    return Action(
        kind="memory.remember", target=request.space, effect="write", reversible=True, arguments=digest(request)
    )


def recall_action(query: RecallQuery) -> Action:
    """Return the action of a search in a memory space."""
    return Action(kind="memory.recall", target=query.space, arguments=digest(query))


class MemoryActivities:
    """Memory operations, with the embedder and the memory injected."""

    def __init__(self, embedder: Embedder, memories: Memories) -> None:
        self._embedder = embedder
        self._memories = memories

    @activity.defn(name="slm.embed")
    async def embed(self, request: EmbedRequest) -> Outcome[Embeddings]:
        """Return the vectors of texts. The model counts no tokens, so usage is words, marked estimated."""
        current_context()
        embeddings = await self._embedder.embed(request.texts)
        words = sum(len(text.split()) for text in request.texts)
        return Outcome(value=embeddings, usage=Amounts(tokens=words), estimated=True)

    @activity.defn(name="memory.remember")
    async def remember(self, request: Remember) -> Outcome[RememberResult]:
        """Store a text under the key of the effect, so that a retry stores nothing twice."""
        granted = current_context()
        request = locked_memory(request, granted.lock)
        item = await self._memories.remember(
            granted.tenant,
            run=granted.key.run,
            key=granted.key.effect,
            space=request.space,
            text=request.text,
            labels=request.labels,
        )
        return Outcome(value=RememberResult(id=item, digest=sha256(request.text.encode())))

    @activity.defn(name="memory.recall")
    async def recall(self, query: RecallQuery) -> Outcome[RecallResult]:
        """Return the most similar memories of the tenant's space."""
        granted = current_context()
        query = locked_query(query, granted.lock)
        items = await self._memories.recall(granted.tenant, space=query.space, query=query.query, limit=query.limit)
        return Outcome(value=RecallResult(items=items))
