"""Memory: texts that runs leave for later runs, by tenant and space, and the ports of embedder and store."""

from typing import Protocol

from pydantic import Field

from capsules.base_model import StrictModel
from capsules.digest import Digest


class EmbedRequest(StrictModel):
    """Input of the activity `slm.embed`."""

    texts: tuple[str, ...] = Field(min_length=1, max_length=64)


class Embeddings(StrictModel):
    model: str
    vectors: tuple[tuple[float, ...], ...] = Field(description="One unit vector a text.")


class Remember(StrictModel):
    """Input of the activity `memory.remember`."""

    space: str
    text: str = Field(min_length=1, max_length=16_384)
    labels: dict[str, str] = Field(default_factory=dict)


class RememberResult(StrictModel):
    id: str
    digest: Digest


class RecallQuery(StrictModel):
    """Input of the activity `memory.recall`."""

    space: str
    query: str = Field(min_length=1, max_length=16_384)
    limit: int = Field(5, ge=1, le=50)


class MemoryItem(StrictModel):
    id: str
    text: str
    labels: dict[str, str] = Field(default_factory=dict)
    run: str = Field(description="Run that left it.")
    score: float = Field(description="Cosine similarity to the query, -1 to 1.")


class RecallResult(StrictModel):
    items: tuple[MemoryItem, ...]


class Embedder(Protocol):
    """Texts to unit vectors of `dimensions` numbers."""

    dimensions: int

    async def embed(self, texts: tuple[str, ...]) -> Embeddings: ...


class Memories(Protocol):
    """Port of the memory store."""

    async def remember(  # noqa: PLR0913
        self, tenant: str, *, run: str, key: str, space: str, text: str, labels: dict[str, str]
    ) -> str:
        """Store a text and return its id. The same `key` twice is one item."""
        ...

    async def recall(self, tenant: str, *, space: str, query: str, limit: int) -> tuple[MemoryItem, ...]:
        """Return the most similar items, best first."""
        ...
