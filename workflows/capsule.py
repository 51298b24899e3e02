"""RunCapsule: the workflow of an atomic or utility capsule."""

from typing import Any

from temporalio import workflow

from activities.model_calls import ModelActivities
from activities.tools import ToolActivities
from capsules.capsule import Step
from capsules.digest import digest
from capsules.errors import EffectFailed, Invalid, PolicyDenied, SomaError
from capsules.expressions import evaluate_condition, fill_template
from capsules.models.chat import SHORTEST_REPLY, ChatReply, ChatRequest, Message
from capsules.runs.run import RunReport, RunStart
from capsules.tools.tool import ToolRequest
from workflows import prompts
from workflows.effects import RunFailed
from workflows.options import MODEL_CALL, SAME_ACTION_LIMIT, TOOL_CALL
from workflows.run import Run


@workflow.defn(name="RunCapsule")
class RunCapsule(Run):
    """Recalls memories, takes the fixed or autonomous steps, verifies the deliverable and hands it over."""

    @workflow.init
    def __init__(self, start: RunStart) -> None:
        super().__init__(start)

    @workflow.run
    async def run(self, start: RunStart) -> RunReport:  # noqa: ARG002 - `@workflow.init` took it
        async with self.lifecycle():
            await self.admit()
            async with self.wall_clock():
                await self._open_transcript()
                output = await (self._run_fixed_steps() if self.spec.steps else self._run_autonomous_steps())
                await self.hand_over(output)
        return self.report()

    async def _open_transcript(self) -> None:
        if self.state.transcript is None and self.spec.model is not None:
            memories = await self.recall()
            # Fixed steps name the inputs that they show; an autonomous persona sees all of them.
            show_inputs = not self.spec.steps
            self.state.pending = list(
                prompts.opening_messages(self.admission.lock, self.start.inputs, memories, show_inputs=show_inputs)
            )

    # Fixed steps

    async def _run_fixed_steps(self) -> Any:  # noqa: ANN401 - any JSON value
        steps = self.spec.steps
        for step in steps[self.state.step :]:
            await self.continue_as_new_if_due()
            self._count_step()
            if step.when is None or evaluate_condition(step.when, self._variables()):
                self.state.outputs[step.id] = await self._run_fixed_step(step)
        return await self._produce_deliverable(steps)

    async def _run_fixed_step(self, step: Step) -> dict[str, Any]:
        if step.think is not None:
            question = str(fill_template(step.think, self._variables()))
            shape = step.shape or self.spec.deliverable.shape
            return {"output": await self._think(question, shape, step.id)}
        tool, _, action = str(step.use).partition("/")
        arguments = await self._complete_arguments(step, tool, action)
        output = await self._use_tool(tool, action, arguments)
        if isinstance(output, SomaError):
            raise RunFailed(f"Step {step.id!r}: {output.message}") from output
        if not output["ok"]:
            raise RunFailed(
                f"Step {step.id!r}: {tool}/{action} ended with {output['exit_code']}: {output['error'][:500]}"
            )
        return output

    async def _complete_arguments(self, step: Step, tool: str, action: str) -> dict[str, Any]:
        """Return the step's arguments. The persona fills in required ones that are not given."""
        given: dict[str, Any] = fill_template(step.with_, self._variables())
        schema = self.admission.lock.tools[tool].actions[action].inputs
        missing = [name for name in schema.get("required", []) if name not in given]
        if not missing:
            return given
        if self.spec.model is None:
            raise Invalid(f"Step {step.id!r} lacks {', '.join(missing)}, and the capsule has no model to fill it in.")
        shape = {
            "type": "object",
            "properties": {name: schema.get("properties", {}).get(name, {}) for name in missing},
            "required": missing,
            "additionalProperties": False,
        }
        filled = await self._think(
            f"Give the missing arguments of {tool}/{action}: {', '.join(missing)}.", shape, step.id
        )
        return {**given, **filled}

    async def _produce_deliverable(self, steps: tuple[Step, ...]) -> Any:  # noqa: ANN401 - any JSON value
        """Return the accepted deliverable, asking the persona for revisions. Raises RunFailed when none is left."""
        while True:
            output = self._build_deliverable(steps)
            problems = await self.verify(output)
            if not problems:
                return output
            last = next((s for s in reversed(steps) if s.think is not None), None)
            if last is None or self.state.revisions >= self.spec.guardrails.max_revisions:
                raise RunFailed(f"The deliverable is not acceptable: {'; '.join(problems)}")
            self.state.revisions += 1
            shape = last.shape or self.spec.deliverable.shape
            corrected = await self._think(prompts.repair(problems).text, shape, last.id)
            self.state.outputs[last.id] = {"output": corrected}

    def _build_deliverable(self, steps: tuple[Step, ...]) -> Any:  # noqa: ANN401 - any JSON value
        mapping = self.spec.deliverable.value
        if mapping is not None:
            return fill_template(mapping, self._variables())
        done = [s for s in steps if s.id in self.state.outputs]
        if not done:
            raise RunFailed("Every step was skipped, so there is nothing to hand over.")
        return self.state.outputs[done[-1].id]["output"]

    # Autonomous steps

    async def _run_autonomous_steps(self) -> Any:  # noqa: ANN401 - any JSON value
        lock = self.admission.lock
        shape = prompts.next_step_schema(lock)
        while True:
            await self.continue_as_new_if_due()
            question = prompts.step_question(lock, self.state.step)
            self._count_step()
            chosen = await self._think(question.text, shape, f"step {self.state.step}")
            if chosen["do"] == "finish":
                problems = await self.verify(chosen["output"])
                if not problems:
                    return chosen["output"]
                self._check_progress(chosen)
                self.state.pending.append(prompts.repair(problems))
                continue
            self._check_progress(chosen)
            tool, _, action = str(chosen["do"]).partition("/")
            seen = await self._use_tool(tool, action, chosen["with"])
            self.state.pending.append(
                prompts.observation(chosen["do"], seen.message if isinstance(seen, SomaError) else _result_text(seen))
            )

    def _check_progress(self, chosen: dict[str, Any]) -> None:
        self.state.seen_actions = [*self.state.seen_actions, digest(chosen)][-SAME_ACTION_LIMIT:]
        if len(self.state.seen_actions) == SAME_ACTION_LIMIT and len(set(self.state.seen_actions)) == 1:
            raise RunFailed(
                f"The run gets nowhere: the persona chose {chosen['do']} with the same arguments "
                f"{SAME_ACTION_LIMIT} times in a row."
            )

    def _count_step(self) -> None:
        limit = self.spec.guardrails.max_steps
        if self.state.step >= limit:
            raise RunFailed(f"The run took its {limit} steps without an accepted deliverable.")
        self.state.step += 1

    # Effects

    async def _think(self, question: str, shape: dict[str, Any], name: str) -> Any:  # noqa: ANN401 - any JSON value
        """Return an answer that follows `shape`. Raises RunFailed after `max_repairs` wrong ones."""
        self._take_messages()
        self.state.pending.append(Message(role="user", text=question))
        for _ in range(1 + self.spec.guardrails.max_repairs):
            reply = await self._chat(shape, name)
            if not reply.problems:
                return reply.value
            self.state.pending.append(prompts.repair(reply.problems))
        raise RunFailed(
            f"Step {name!r}: the model's answer broke its schema {1 + self.spec.guardrails.max_repairs} times, "
            f"at last: {'; '.join(reply.problems)[:500]}"
        )

    async def _chat(self, shape: dict[str, Any], name: str) -> ChatReply:
        model = self.spec.model
        if model is None:
            raise Invalid("A capsule whose persona thinks declares `model`.")
        request = ChatRequest(
            role=self.state.cheaper or model.role,
            transcript=self.state.transcript,
            messages=tuple(self.state.pending),
            answer=shape,
            max_output_tokens=max(SHORTEST_REPLY, model.max_output_tokens >> self.state.halvings),
            step=self.state.step,
        )
        outcome = await self.act(ModelActivities.chat, request, MODEL_CALL, f"think: {name}")
        self.state.pending = []
        self.state.transcript = outcome.value.transcript
        return outcome.value

    async def _use_tool(
        self, tool: str, action: str, arguments: dict[str, Any]
    ) -> dict[str, Any] | PolicyDenied | EffectFailed:
        request = ToolRequest(tool=self.admission.lock.tools[tool].ref, action=action, arguments=arguments)
        outcome = await self.try_act(ToolActivities.invoke, request, TOOL_CALL, f"{tool}/{action}")
        return outcome if isinstance(outcome, SomaError) else outcome.value.model_dump(mode="json")

    def _take_messages(self) -> None:
        """Move the messages of people since the last step into the next request."""
        self.state.pending.extend(Message(role="user", text=m.text) for m in self.state.inbox)
        self.state.inbox = []

    def _variables(self) -> dict[str, Any]:
        return {"inputs": self.start.inputs, "steps": self.state.outputs}


def _result_text(result: dict[str, Any]) -> Any:  # noqa: ANN401 - any JSON value
    if not result["ok"]:
        return {"exit_code": result["exit_code"], "error": result["error"]}
    return result["output"] if result["output"] is not None else result["text"]
