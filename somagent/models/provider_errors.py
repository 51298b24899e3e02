"""Provider errors: translates the failures of a model server into our errors.

cannot be reached, silent, 5xx, 408, cut stream   Unavailable   retried by the workflow's options
429                                               RateLimited   with `retry_after` seconds
input and output longer than the window           EffectFailed  with `window` and the request's tokens
401, 402, 403, 404, 400, 413, 422, other 4xx      EffectFailed  the same request fails again
an answer that is not the protocol's              EffectFailed  the address is not such a server
"""

from collections.abc import Mapping
from typing import Any

from pydantic_ai.exceptions import (
    AgentRunError,
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelContextWindowExceededError,
    ModelHTTPError,
    ModelNotFoundError,
    ModelRateLimitError,
    ModelServerError,
    ModelUnavailableError,
)
from pydantic_ai.exceptions import ModelRequestTimeout as RequestTimeout

from capsules.errors import EffectFailed, RateLimited, SomaError, Unavailable
from somagent.models.profiles import Profile

TRANSIENT = (ModelConnectionError, ModelUnavailableError, ModelServerError, RequestTimeout)
OVERFLOW = "exceed_context_size_error"  # of llama.cpp
REQUEST_TIMEOUT = 408
RETRY_SECONDS = 5.0


def translate_error(error: AgentRunError, profile: Profile) -> SomaError:
    """Return our error for what the provider adapter raised."""
    where: dict[str, Any] = {"address": profile.base_url, "model": profile.model}
    body = _body(error)
    if isinstance(error, ModelContextWindowExceededError) or body.get("type") == OVERFLOW:
        return _window_error(body, profile, where)
    if isinstance(error, ModelRateLimitError):
        return _rate_limit_error(error, profile, where)
    kind = Unavailable if isinstance(error, TRANSIENT) or _status(error) == REQUEST_TIMEOUT else EffectFailed
    return kind(f"{_describe(error, profile, transient=kind is Unavailable)}: {_detail(error, body)}", **where)


def _describe(error: AgentRunError, profile: Profile, *, transient: bool) -> str:
    if transient:
        return f"The model server at {profile.base_url!r} cannot be used now"
    match error:
        case ModelAuthenticationError():
            return (
                f"The model server at {profile.base_url!r} refuses our API key. Check SOMAGENT_SLM_API_KEY or the "
                "profile's `api_key`"
            )
        case ModelNotFoundError():
            return (
                f"{profile.base_url!r} knows no model {profile.model!r} or is not the base URL of an OpenAI-compatible "
                "server, which usually ends in /v1"
            )
        case ModelAPIError():
            return f"The model {profile.model!r} rejects the request"
        case _:
            return f"{profile.base_url!r} does not answer as an OpenAI-compatible server"


def _window_error(body: Mapping[str, Any], profile: Profile, where: dict[str, Any]) -> EffectFailed:
    window = body.get("n_ctx", profile.window)
    tokens = body.get("n_prompt_tokens")
    return EffectFailed(
        f"The request{f' of {tokens} tokens' if tokens else ''} is longer than the window of {window} tokens of the "
        f"model {profile.model!r}. Shorten it or give the role a model with a larger window.",
        window=window,
        tokens=tokens,
        **where,
    )


def _rate_limit_error(error: ModelRateLimitError, profile: Profile, where: dict[str, Any]) -> RateLimited:
    wait = RETRY_SECONDS if error.retry_after is None else error.retry_after
    return RateLimited(
        f"The model server at {profile.base_url!r} takes no more requests for {wait:g} s.", retry_after=wait, **where
    )


def _body(error: AgentRunError) -> Mapping[str, Any]:
    body = error.body if isinstance(error, ModelAPIError) else None
    inner = body.get("error", body) if isinstance(body, dict) else None
    return inner if isinstance(inner, dict) else {}


def _status(error: AgentRunError) -> int | None:
    return error.status_code if isinstance(error, ModelHTTPError) else None


def _detail(error: AgentRunError, body: Mapping[str, Any]) -> str:
    status = _status(error)
    words = body.get("message") or error.message or type(error).__name__
    return f"{f'HTTP {status}: ' if status else ''}{words}"[:1000]
