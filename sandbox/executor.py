"""Container executor: runs tools of kind `container`; the port `ToolExecutor` on the port `Sandbox`.

An action takes `code` or `command`, which its `interpreter` is given as the last argument, and optionally `files`,
`input` (written to `input.json`) and `stdin`.
"""

import json

from capsules.actions.ledger_messages import AttemptKey
from capsules.tools.tool import ContainerResult, ContainerSpec, Sandbox, ToolAnswer, ToolCall


class ContainerExecutor:
    """One container of `image` for each effect, kept until the outcome is recorded, so that a retry finds it."""

    def __init__(self, sandbox: Sandbox, *, image: str) -> None:
        self._sandbox = sandbox
        self._image = image

    async def execute(self, call: ToolCall, *, key: AttemptKey) -> ToolAnswer:
        """Run the program. One that fails is an answer that is not ok. Raises as `Sandbox.run` does."""
        ran = await self._sandbox.run(_spec(call, self._image, key), key=key.effect)
        return ToolAnswer(
            ok=ran.exit_code == 0 and not ran.timed_out and not ran.out_of_memory,
            exit_code=ran.exit_code,
            text=ran.stdout,
            error=_error(ran),
            duration_ms=ran.duration_ms,
        )

    async def discard(self, key: AttemptKey) -> None:
        """Remove the container of the effect."""
        await self._sandbox.discard(key.effect)


def _spec(call: ToolCall, image: str, key: AttemptKey) -> ContainerSpec:
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
        labels={"somagent.run": key.run, "somagent.tenant": key.tenant},
    )


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
    return "\n".join([*notes, ran.stderr])
