"""Tool invocations: `tool.invoke` runs one action of a tool with the executor of its kind."""

import asyncio
import json
from collections.abc import Coroutine, Mapping
from typing import Any

from temporalio import activity

from capsules.actions.action import Action
from capsules.actions.activity_context import current_context
from capsules.actions.verdict import Outcome
from capsules.budgets.amounts import Amounts
from capsules.digest import ContentStore, Digest, digest
from capsules.errors import EffectFailed, Invalid
from capsules.json_schema import value_problems
from capsules.runs.lock import Lock, require_lock
from capsules.tools.tool import ToolAnswer, ToolCall, ToolExecutor, ToolRequest, ToolResult

HEARTBEAT_SECONDS = 1.0
TEXT_PREVIEW = 4096
ERROR_PREVIEW = 2048
OUTPUT_LIMIT = 65_536
"""JSON output up to this many characters is returned as a value; longer output stays in the content store."""


def locked_call(request: ToolRequest, lock: Lock | None) -> ToolCall:
    """Return the call with the tool's definition from the lock. Raises AuthorityRefused when the lock lacks it."""
    return require_lock(lock).tool_call(request)


def tool_action(call: ToolCall) -> Action:
    """Return the action of an invocation, from the tool's signed definition."""
    declared = call.declared
    return Action(
        kind="tool.invoke",
        target=call.tool.target(call.action),
        effect=declared.effect,
        reversible=declared.reversible,
        egress=declared.egress,
        data=declared.data,
        idempotent=declared.idempotent,
        cost=Amounts(tool_calls=1),
        arguments=digest(call),
    )


class ToolActivities:
    """Tool invocations, with an executor for each kind of tool and the content store injected."""

    def __init__(self, executors: Mapping[str, ToolExecutor], content: ContentStore) -> None:
        self._executors = executors
        self._content = content

    @activity.defn(name="tool.invoke")
    async def invoke(self, request: ToolRequest) -> Outcome[ToolResult]:
        """Run the action. A program that fails is a result the persona reads, not an error.

        Raises Invalid for a kind of tool without an executor, EffectFailed for arguments that do not fit the action,
        and what the executor raises.
        """
        granted = current_context()
        call = locked_call(request, granted.lock)
        executor = self._executor(call.tool.kind)
        declared = call.declared
        if problems := value_problems(declared.inputs, call.arguments, most=5):
            listed = "; ".join(str(problem) for problem in problems)
            raise EffectFailed(f"Arguments of {call.tool.target(call.action)}: {listed}")
        answer = await _await_answer(executor.execute(call, key=granted.key))
        # A retry finds the answer at the executor, which keeps it until the outcome is recorded.
        granted.after_settling.append(lambda: executor.discard(granted.key))
        return Outcome(value=await self._result(answer, granted.tenant), usage=answer.usage)

    def _executor(self, kind: str) -> ToolExecutor:
        if kind not in self._executors:
            known = ", ".join(sorted(self._executors))
            raise Invalid(f"This worker has no executor for tools of kind {kind!r}. Known: {known}.", kind=kind)
        return self._executors[kind]

    async def _result(self, answer: ToolAnswer, tenant: str) -> ToolResult:
        """Return the result with bounded texts: histories hold previews, the content store the full text."""
        kept: Digest | None = None
        if len(answer.text) > TEXT_PREVIEW:
            kept = await self._content.put(tenant, answer.text.encode(), "text/plain; charset=utf-8")
        return ToolResult(
            ok=answer.ok,
            exit_code=answer.exit_code,
            output=_parse_json(answer.text),
            text=answer.text[:TEXT_PREVIEW],
            error=answer.error[-ERROR_PREVIEW:].strip(),
            content=kept,
            duration_ms=answer.duration_ms,
        )


async def _await_answer(execution: Coroutine[Any, Any, ToolAnswer]) -> ToolAnswer:
    """Return the answer, with heartbeats until it is there. Stop the execution only when the run was cancelled.

    When only this attempt ends, the next one continues the execution: this worker may be shutting down, or may have
    missed its heartbeats so that another worker has the effect already.
    """
    work = asyncio.ensure_future(execution)
    try:
        while not work.done():
            await asyncio.wait({work}, timeout=HEARTBEAT_SECONDS)
            activity.heartbeat()
    except asyncio.CancelledError:
        details = activity.cancellation_details()
        if details is not None and details.cancel_requested:
            work.cancel()
            await asyncio.wait({work})
        else:
            work.add_done_callback(_read_outcome)
        raise
    return work.result()


def _read_outcome(work: asyncio.Future[ToolAnswer]) -> None:
    """Read the outcome, so that asyncio does not report an exception that was never retrieved."""
    if not work.cancelled():
        work.exception()


def _parse_json(text: str) -> Any:  # noqa: ANN401 - any JSON value
    if len(text) > OUTPUT_LIMIT:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return None
