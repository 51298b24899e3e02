"""Model calls: messages, request, reply, price, and the ports of models and token streams.

Transcripts grow, and workflow histories must stay small. So a request names the head of a transcript in the content
store and carries only the new messages; a reply returns the new head.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Literal, Protocol

from pydantic import Field

from capsules.base_model import StrictModel
from capsules.digest import Digest

SHORTEST_REPLY = 16
"""Lowest output cap, in tokens."""


class Message(StrictModel):
    role: Literal["system", "user", "assistant"]
    text: str


class TranscriptHead(StrictModel):
    """The last segment of a transcript and how long the whole is."""

    digest: Digest
    opening: Digest = Field(description="The first segment: who the persona is and what is asked.")
    tokens: int = Field(ge=0, description="Tokens of the whole transcript, as the provider counted the last call.")


class TranscriptSegment(StrictModel):
    """The messages that one call added, linked to the segment before. Stored in the content store."""

    previous: Digest | None
    messages: tuple[Message, ...]


class Price(StrictModel):
    """Price of a model, in micro-dollars per million tokens."""

    input: int = Field(0, ge=0)
    output: int = Field(0, ge=0)

    def cost(self, *, input_tokens: int, output_tokens: int) -> int:
        """Return whole micro-dollars, rounded up: a budget is never undercharged."""
        return -(-(input_tokens * self.input + output_tokens * self.output) // 1_000_000)


class ChatRequest(StrictModel):
    """Input of the activity `slm.chat`."""

    role: str = Field(description="Model role, resolved by model profiles.")
    transcript: TranscriptHead | None = None
    messages: tuple[Message, ...] = Field(description="What is new since `transcript`.")
    answer: dict[str, Any] | None = Field(None, description="JSON Schema that the reply must follow; unset: free text.")
    max_output_tokens: int = Field(256, ge=1)
    temperature: float = Field(0.0, description="From the run's lock, whatever an argument says.")
    price: Price = Field(Price(), description="From the run's lock, whatever an argument says.")
    step: int = Field(0, description="Step of the run, for the live stream of tokens.")

    def input_bound(self) -> int:
        """Return an upper bound of the input tokens: a token is at least a byte; 16 cover a message's frame."""
        new = sum(len(m.text.encode()) + 16 for m in self.messages)
        return new + 16 + (self.transcript.tokens if self.transcript else 0)


class ModelUsage(StrictModel):
    input_tokens: int
    output_tokens: int
    estimated: bool = False


class ChatReply(StrictModel):
    """Reply of a model."""

    text: str = Field(description="The reply, at most 16,384 characters; the whole is in the transcript.")
    value: Any = Field(None, description="The reply as JSON, when it follows the asked schema.")
    problems: tuple[str, ...] = Field((), description="Why the reply does not follow the schema; empty when it does.")
    transcript: TranscriptHead
    model: str
    finish_reason: str = ""


class Completion(StrictModel):
    """Result of one call of a model client, before schema check and transcript."""

    text: str
    usage: ModelUsage
    model: str
    finish_reason: str = ""


class ModelClient(Protocol):
    """Port of a model. `on_delta` gets each piece of text as it arrives."""

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


class TokenStream(Protocol):
    """Live pieces of a model's reply, for people who watch. May be lost; never raises."""

    async def publish(self, tenant: str, run: str, *, step: int, attempt: int, text: str) -> None: ...
