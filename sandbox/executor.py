"""Container executor: runs tools of kind `container`; the port `ToolExecutor` on the port `Sandbox`.

The action's `interpreter` gets the argument `code` or `command` as its last argument.
"""

import json

from pydantic import Field, ValidationError

from capsules.actions.ledger_messages import AttemptKey
from capsules.base_model import FrozenModel
from capsules.errors import EffectFailed
from capsules.tools.tool import ContainerResult, ContainerSpec, Sandbox, ToolAnswer, ToolCall


class ContainerArguments(FrozenModel):
    """Arguments of an action that the executor reads. `input` is any JSON value and is written to `input.json`."""

    code: str | None = None
    command: str | None = None
    files: dict[str, str] = Field(default_factory=dict)
    stdin: str = ""


class ContainerExecutor:
    """One container of `image` for each effect, kept until the outcome is recorded, so that a retry finds it."""

    def __init__(self, sandbox: Sandbox, *, image: str) -> None:
        self._sandbox = sandbox
        self._image = image

    async def execute(self, call: ToolCall, *, key: AttemptKey) -> ToolAnswer:
        """Run the program. One that fails is an answer that is not ok.

        Raises EffectFailed for arguments that no container can run, and what `Sandbox.run` raises.
        """
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
    target = call.tool.target(call.action)
    try:
        arguments = ContainerArguments.model_validate(call.arguments)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise EffectFailed(f"Arguments of {target}: {problems}") from error
    program = arguments.command if arguments.code is None else arguments.code
    if program is None:
        raise EffectFailed(f"Arguments of {target}: code: one of 'code' and 'command' is required by a container tool")
    given = {"input.json": json.dumps(call.arguments["input"])} if "input" in call.arguments else {}
    return ContainerSpec(
        image=image,
        command=(*call.declared.interpreter, program),
        files={**arguments.files, **given},
        stdin=arguments.stdin,
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
