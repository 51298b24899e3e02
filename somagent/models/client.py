"""Model client: calls models through pydantic-ai, always streaming and without retries, and raises our errors."""

from collections.abc import Awaitable, Callable
from typing import Any, Self

import httpx2
from pydantic import Field
from pydantic_ai.exceptions import AgentRunError
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    ModelResponseStreamEvent,
    PartDeltaEvent,
    PartStartEvent,
    SystemPromptPart,
    TextPart,
    TextPartDelta,
    UserPromptPart,
)
from pydantic_ai.models import Model, ModelRequestParameters, StreamedResponse
from pydantic_ai.output import OutputObjectDefinition
from pydantic_ai.settings import ModelSettings

from capsules.base_model import FrozenModel
from capsules.errors import EffectFailed
from capsules.models.chat import Completion, Message, ModelUsage
from somagent.models.profiles import Profile, Profiles
from somagent.models.provider_errors import translate_error
from somagent.models.providers import PROVIDERS

OnDelta = Callable[[str], Awaitable[None]]
BYTES_PER_TOKEN = 3  # English text has about four; an estimate should charge rather too much than too little
TEMPLATE_TOKENS = 8  # tokens that the template adds to each message for role and delimiters
KEEPALIVE_SECONDS = 2.0
"""How long an idle connection is used again. Model servers close theirs after 5 s; one used at that moment is lost."""


class Timeouts(FrozenModel):
    """Timeouts in seconds. `read` is the time between two pieces; before the first one the server reads the prompt."""

    connect: float = Field(5, gt=0)
    read: float = Field(120, gt=0)
    write: float = Field(15, gt=0)
    pool: float = Field(30, gt=0)


class PydanticAiModel:
    """Implements `capsules.models.chat.ModelClient`. An async context: its connections close at the end."""

    def __init__(self, profiles: Profiles, *, timeouts: Timeouts | None = None) -> None:
        self._profiles = profiles
        self._http = httpx2.AsyncClient(
            timeout=httpx2.Timeout(**(timeouts or Timeouts()).model_dump()),
            limits=httpx2.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=KEEPALIVE_SECONDS),
        )
        self._models: dict[Profile, Model] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def complete(  # noqa: PLR0913 - the port's
        self,
        messages: tuple[Message, ...],
        *,
        role: str,
        answer: dict[str, Any] | None,
        max_output_tokens: int,
        temperature: float,
        on_delta: OnDelta | None = None,
    ) -> Completion:
        """Return the model's reply. Each piece of text goes to `on_delta` before the next one is read.

        Raises RateLimited, Unavailable, and EffectFailed when the request would fail again.
        """
        profile = self._profiles.of(role)
        if not any(message.role != "system" for message in messages):
            raise EffectFailed("A model is asked with at least one message of a user.", role=role)
        pieces: list[str] = []
        try:
            async with self._model(profile).request_stream(
                [_message(message) for message in messages],
                ModelSettings(max_tokens=max_output_tokens, temperature=temperature),
                _parameters(answer, profile),
            ) as stream:
                async for event in stream:
                    if piece := _event_text(event):
                        pieces.append(piece)
                        if on_delta:
                            await on_delta(piece)
        except AgentRunError as error:
            raise translate_error(error, profile) from error
        reply = "".join(pieces)
        return Completion(
            text=reply,
            usage=_usage(stream) or estimate_usage(messages, reply, pieces=len(pieces)),
            model=stream.model_name,
            finish_reason=stream.finish_reason or "",
        )

    def _model(self, profile: Profile) -> Model:
        if profile not in self._models:
            self._models[profile] = PROVIDERS[profile.provider].model(profile, self._http)
        return self._models[profile]


def _event_text(event: ModelResponseStreamEvent) -> str:
    match event:
        case PartStartEvent(part=TextPart(content=text)) | PartDeltaEvent(delta=TextPartDelta(content_delta=text)):
            return text
        case _:
            return ""  # the model's reasoning is not part of its answer


def _message(message: Message) -> ModelMessage:
    match message.role:
        case "system":
            return ModelRequest(parts=[SystemPromptPart(content=message.text)])
        case "user":
            return ModelRequest(parts=[UserPromptPart(content=message.text)])
        case "assistant":
            return ModelResponse(parts=[TextPart(content=message.text)])


def _parameters(answer: dict[str, Any] | None, profile: Profile) -> ModelRequestParameters:
    if answer is None:
        return ModelRequestParameters()
    schema = PROVIDERS[profile.provider].answer_schema(profile, answer)
    return ModelRequestParameters(
        output_mode="native",
        output_object=OutputObjectDefinition(json_schema=schema, name="answer", strict=True),
        allow_text_output=False,
    )


def _usage(stream: StreamedResponse) -> ModelUsage | None:
    """Return the tokens that the provider counted, or None when it reports none."""
    usage = stream.usage
    if not usage.input_tokens and not usage.output_tokens:
        return None
    return ModelUsage(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens)


def estimate_usage(messages: tuple[Message, ...], reply: str, *, pieces: int) -> ModelUsage:
    """Estimate tokens from bytes, for a provider that counts none. A reply has at least as many tokens as pieces."""
    read = sum(_tokens(message.text) + TEMPLATE_TOKENS for message in messages) + TEMPLATE_TOKENS
    return ModelUsage(input_tokens=read, output_tokens=max(pieces, _tokens(reply)), estimated=True)


def _tokens(text: str) -> int:
    return -(-len(text.encode()) // BYTES_PER_TOKEN)
