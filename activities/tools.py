"""`tool.invoke`: one action of a tool, in a container that exists for this one effect."""

import asyncio
import json
from collections.abc import Coroutine
from typing import Any

from jsonschema import Draft202012Validator
from temporalio import activity

from capsules.action import Action
from capsules.amounts import Amounts
from capsules.container import ContainerResult, ContainerSpec
from capsules.digest import Digest, digest
from capsules.errors import EffectFailed
from capsules.passage import Pass, current_pass
from capsules.ports import ContentStore, Sandbox
from capsules.tool import ToolCall, ToolResult
from capsules.verdict import Outcome

TEXT_PREVIEW = 4096
ERROR_PREVIEW = 2048
OUTPUT_LIMIT = 65_536
"""JSON output up to this many characters is handed on as a value; more stays in the content store."""


def tool_action(call: ToolCall) -> Action:
    """Say what an invocation does, by the tool's signed definition."""
    declared = call.tool.actions[call.action]
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


class Tools:
    """Tool invocations, with sandbox and content store injected."""

    def __init__(self, sandbox: Sandbox, content: ContentStore, *, image: str) -> None:
        self._sandbox = sandbox
        self._content = content
        self._image = image

    @activity.defn(name="tool.invoke")
    async def invoke(self, call: ToolCall) -> Outcome[ToolResult]:
        """Run the action. A program that fails is a result the persona reads, not an error."""
        granted = current_pass()
        declared = call.tool.actions[call.action]
        problems = [e.message for e in Draft202012Validator(declared.inputs).iter_errors(call.arguments)]
        if problems:
            raise EffectFailed(f"Arguments of {call.tool.target(call.action)}: {'; '.join(problems[:5])}")
        key = granted.key.effect
        ran = await _for_whoever_comes_next(
            self._sandbox.run(_spec(call, self._image, granted), key=key, on_progress=activity.heartbeat)
        )
        # The container is what makes a retry find its result; it goes when the result is safe.
        granted.after_settling.append(lambda: self._sandbox.discard(key))
        return Outcome(value=await self._result(ran, granted.tenant), usage=Amounts(tool_calls=1))

    async def _result(self, ran: ContainerResult, tenant: str) -> ToolResult:
        kept: Digest | None = None
        if len(ran.stdout) > TEXT_PREVIEW:
            kept = await self._content.put(tenant, ran.stdout.encode(), "text/plain; charset=utf-8")
        return ToolResult(
            ok=ran.exit_code == 0 and not ran.timed_out and not ran.out_of_memory,
            exit_code=ran.exit_code,
            output=_as_json(ran.stdout),
            text=ran.stdout[:TEXT_PREVIEW],
            error=_error(ran),
            content=kept,
            duration_ms=ran.duration_ms,
        )


async def _for_whoever_comes_next(running: Coroutine[Any, Any, ContainerResult]) -> ContainerResult:
    """Stop the container when the run says so. Where only this attempt ends, the next one picks the container up.

    This worker may be shutting down, or have been silent for so long that another one has the effect in hand already.
    """
    work = asyncio.ensure_future(running)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        details = activity.cancellation_details()
        if details is not None and details.cancel_requested:
            work.cancel()
            await asyncio.wait({work})
        else:
            work.add_done_callback(_forget)
        raise


def _forget(work: asyncio.Future[ContainerResult]) -> None:
    """Read the outcome, so that asyncio does not report one that nobody waited for."""
    if not work.cancelled():
        work.exception()


def _spec(call: ToolCall, image: str, granted: Pass) -> ContainerSpec:
    arguments = call.arguments
    files: dict[str, str | bytes] = dict(arguments.get("files", {}))
    if "input" in arguments:
        files["input.json"] = json.dumps(arguments["input"])
    program = arguments["code"] if "code" in arguments else arguments["command"]
    return ContainerSpec(
        image=image,
        command=(*call.tool.actions[call.action].interpreter, program),
        files=files,
        stdin=arguments.get("stdin", ""),
        limits=call.tool.limits,
        labels={"somagent.run": granted.key.run, "somagent.tenant": granted.tenant},
    )


def _as_json(text: str) -> Any:  # noqa: ANN401 - any JSON value
    if len(text) > OUTPUT_LIMIT:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return None


def _error(ran: ContainerResult) -> str:
    notes = [
        note
        for hit, note in (
            (ran.timed_out, "stopped at its time limit"),
            (ran.out_of_memory, "killed at its memory limit"),
            (ran.truncated, "output cut at its limit"),
        )
        if hit
    ]
    return "\n".join([*notes, ran.stderr])[-ERROR_PREVIEW:].strip()
