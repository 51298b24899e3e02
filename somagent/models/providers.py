"""Model providers: how each kind makes a model from a profile, and the JSON Schema that it gets for an answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2
from openai import AsyncOpenAI
from pydantic_ai.models import Model
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.providers.openai import OpenAIProvider

from somagent.models.grammar import grammar_schema
from somagent.models.profiles import Profile, ProviderKind

NO_KEY = "none"  # the SDK needs a key; a server without keys ignores it
# llama.cpp takes a schema unchanged; the transformer of pydantic-ai would drop bounds of length.
GRAMMAR_BOUND = OpenAIModelProfile(
    supports_json_schema_output=True,
    json_schema_transformer=None,
    openai_chat_supports_max_completion_tokens=False,
    openai_chat_streaming_requires_finish_reason=True,
)
STRICT_MODE = OpenAIModelProfile(supports_json_schema_output=True, openai_chat_streaming_requires_finish_reason=True)


@dataclass(frozen=True)
class Provider:
    """One kind of provider. `model` uses the given HTTP client and does not retry: the workflow's options do."""

    model: Callable[[Profile, httpx2.AsyncClient], Model]
    answer_schema: Callable[[Profile, dict[str, Any]], dict[str, Any]]
    """Returns the schema to send. Raises EffectFailed for one that the provider cannot enforce."""


def _openai_model(profile: Profile, http: httpx2.AsyncClient) -> Model:
    client = AsyncOpenAI(
        base_url=profile.base_url,
        api_key=profile.api_key.get_secret_value() if profile.api_key else NO_KEY,
        max_retries=0,
        http_client=http,
    )
    return OpenAIChatModel(
        profile.model,
        provider=OpenAIProvider(openai_client=client),
        profile=GRAMMAR_BOUND if profile.dialect == "llama.cpp" else STRICT_MODE,
    )


def _openai_answer_schema(profile: Profile, schema: dict[str, Any]) -> dict[str, Any]:
    return grammar_schema(schema) if profile.dialect == "llama.cpp" else schema


PROVIDERS: Mapping[ProviderKind, Provider] = {
    "openai-compatible": Provider(_openai_model, _openai_answer_schema),
}
