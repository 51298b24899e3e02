"""Model calls: `slm.chat`, one reply that follows a schema, streamed as it comes and kept in the run's transcript."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from temporalio import activity

from capsules.actions.action import Action
from capsules.actions.activity_context import ActivityContext, current_context
from capsules.actions.verdict import Outcome
from capsules.budgets.amounts import Amounts
from capsules.digest import ContentStore, digest
from capsules.errors import AuthorityRefused, TamperedContent
from capsules.json_schema import value_problems
from capsules.models import transcript
from capsules.models.chat import (
    SHORTEST_REPLY,
    ChatReply,
    ChatRequest,
    Completion,
    Message,
    ModelClient,
    TokenStream,
)
from capsules.runs.lock import Lock, require_lock

PREVIEW = 16_384
WINDOW_BYTES = 12_000
"""Most bytes of a request: about 3,000 tokens, which leaves room for the reply in a window of 4,096 tokens."""


def locked_request(request: ChatRequest, lock: Lock | None) -> ChatRequest:
    """Return the request with system prompt, temperature and price from the lock.

    Raises AuthorityRefused for a model role, a length or a system prompt that the lock does not give to the run.
    """
    locked = require_lock(lock)
    model = locked.capsule.spec.model
    prices = {} if model is None else {**locked.cheaper, model.role: locked.price}
    if model is None or request.role not in prices:
        raise AuthorityRefused(
            f"The run's lock has no model role {request.role!r}. It has: {', '.join(sorted(prices)) or 'none'}."
        )
    longest = max(SHORTEST_REPLY, model.max_output_tokens)
    if request.max_output_tokens > longest:
        raise AuthorityRefused(
            f"A reply of {request.max_output_tokens} tokens is longer than the {longest} that the run's lock allows."
        )
    system = Message(role="system", text=locked.system_prompt())
    opens = request.transcript is None
    if any(message.role == "system" and (message != system or not opens) for message in request.messages):
        raise AuthorityRefused("A message of the request is a system prompt that is not the locked persona's.")
    said = tuple(message for message in request.messages if message.role != "system")
    return request.model_copy(
        update={
            "messages": (system, *said) if opens else said,
            "temperature": model.temperature,
            "price": prices[request.role],
        }
    )


def chat_action(request: ChatRequest) -> Action:
    """Return the action of a chat request; its cost bound is a token for each input byte, and the output cap."""
    bound = min(request.input_bound(), WINDOW_BYTES)
    return Action(
        kind="slm.chat",
        target=request.role,
        cost=Amounts(
            tokens=bound + request.max_output_tokens,
            micro_usd=request.price.cost(input_tokens=bound, output_tokens=request.max_output_tokens),
        ),
        least=Amounts(tokens=1),
        arguments=digest(request),
    )


class ModelActivities:
    """Model calls, with model client, content store and token stream injected."""

    def __init__(self, models: ModelClient, content: ContentStore, tokens: TokenStream) -> None:
        self._models = models
        self._content = content
        self._tokens = tokens

    @activity.defn(name="slm.chat")
    async def chat(self, request: ChatRequest) -> Outcome[ChatReply]:
        """Return the reply to the new messages. One that breaks the schema has `problems` and is no error."""
        granted = current_context()
        request = locked_request(request, granted.lock)
        messages = await transcript.load(
            self._content, granted.tenant, request.transcript, request.messages, limit=WINDOW_BYTES
        )
        prompt = require_lock(granted.lock).system_prompt()
        if any(message.role == "system" and message.text != prompt for message in messages):
            raise TamperedContent("The transcript begins with a system prompt that is not the locked persona's.")
        completion = await self._models.complete(
            messages,
            role=request.role,
            answer=request.answer,
            max_output_tokens=request.max_output_tokens,
            temperature=request.temperature,
            on_delta=self._publisher(granted, request.step),
        )
        used = completion.usage.input_tokens + completion.usage.output_tokens
        head = await transcript.append(
            self._content,
            granted.tenant,
            request.transcript,
            (*request.messages, Message(role="assistant", text=completion.text)),
            tokens=used,
        )
        value, problems = _parse_reply(completion, request.answer)
        reply = ChatReply(
            text=completion.text[:PREVIEW],
            value=value,
            problems=problems,
            transcript=head,
            model=completion.model,
            finish_reason=completion.finish_reason,
        )
        paid = request.price.cost(
            input_tokens=completion.usage.input_tokens, output_tokens=completion.usage.output_tokens
        )
        return Outcome(value=reply, usage=Amounts(tokens=used, micro_usd=paid), estimated=completion.usage.estimated)

    def _publisher(self, granted: ActivityContext, step: int) -> Callable[[str], Awaitable[None]]:
        async def publish(text: str) -> None:
            key = granted.key
            await self._tokens.publish(granted.tenant, key.run, step=step, attempt=key.attempt, text=text)

        return publish


def _parse_reply(completion: Completion, schema: dict[str, Any] | None) -> tuple[Any, tuple[str, ...]]:
    """Return the reply as JSON, and the reasons why it does not follow the schema (at most ten)."""
    if schema is None:
        return None, ()
    try:
        value = json.loads(completion.text)
    except ValueError as error:
        cut = " (it was cut at the output limit)" if completion.finish_reason == "length" else ""
        return None, (f"the reply is not JSON{cut}: {error}",)
    problems = tuple(str(problem) for problem in value_problems(schema, value, most=10))
    return (None if problems else value), problems
