"""What every tool executor must do, as tests: a test class inherits them and gives the fixture `subject`.

No imitations: each subject is an executor on the real thing that it drives.
"""

import asyncio
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from capsules.actions.ledger_messages import AttemptKey
from capsules.errors import Conflict, Unavailable
from capsules.tools.tool import ContainerLimits, Tool, ToolCall, ToolExecutor


@dataclass(frozen=True)
class Subject:
    """An executor, and arguments of one action that show each behaviour."""

    executor: ToolExecutor
    unreachable: ToolExecutor
    tool: Tool
    action: str
    unique: dict[str, Any]
    """Answered with another text each time that it really happens."""
    slow: dict[str, Any]
    """Takes half a minute."""
    long: dict[str, Any]
    """Answers with more than 2,000 bytes."""
    failing: dict[str, Any]
    at_work: Callable[[AttemptKey], bool]
    """Whether something is being done for a key now."""

    def call(self, arguments: dict[str, Any], **limits: int) -> ToolCall:
        bounded = ContainerLimits.model_validate({**self.tool.limits.model_dump(), **limits})
        return ToolCall(tool=self.tool.model_copy(update={"limits": bounded}), action=self.action, arguments=arguments)


def new_key(attempt: int = 1) -> AttemptKey:
    return AttemptKey(tenant="test", run=f"test/{uuid.uuid4()}", execution="1", activity="1", attempt=attempt)


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition never came true"
        await asyncio.sleep(0.05)


class ToolExecutorContract:
    """The port `ToolExecutor`, behaviour by behaviour."""

    async def test_a_later_attempt_gets_the_answer_of_the_first(self, subject: Subject) -> None:
        key, call = new_key(), subject.call(subject.unique)
        first = await subject.executor.execute(call, key=key)
        again = await subject.executor.execute(call, key=key.model_copy(update={"attempt": 2}))
        await subject.executor.discard(key)
        assert first.ok, first
        assert (again.text, again.exit_code) == (first.text, first.exit_code)

    async def test_attempts_at_once_happen_once(self, subject: Subject) -> None:
        key, call = new_key(), subject.call(subject.unique)
        answers = await asyncio.gather(*(subject.executor.execute(call, key=key) for _ in range(3)))
        await subject.executor.discard(key)
        assert len({answer.text for answer in answers}) == 1

    async def test_another_key_happens_again(self, subject: Subject) -> None:
        keys, call = [new_key(), new_key()], subject.call(subject.unique)
        answers = [await subject.executor.execute(call, key=key) for key in keys]
        for key in keys:
            await subject.executor.discard(key)
        assert answers[0].text != answers[1].text

    async def test_a_key_used_for_another_call_is_a_conflict(self, subject: Subject) -> None:
        key = new_key()
        await subject.executor.execute(subject.call(subject.unique), key=key)
        with pytest.raises(Conflict):
            await subject.executor.execute(subject.call(subject.failing), key=key)
        await subject.executor.discard(key)

    async def test_cancelling_stops_it(self, subject: Subject) -> None:
        key = new_key()
        running = asyncio.create_task(subject.executor.execute(subject.call(subject.slow), key=key))
        await until(lambda: subject.at_work(key))
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await until(lambda: not subject.at_work(key))

    async def test_the_time_limit_ends_it(self, subject: Subject) -> None:
        key, began = new_key(), time.monotonic()
        answer = await subject.executor.execute(subject.call(subject.slow, seconds=1), key=key)
        assert time.monotonic() - began < 10
        await subject.executor.discard(key)
        assert (answer.ok, "time limit" in answer.error) == (False, True), answer
        await until(lambda: not subject.at_work(key))

    async def test_output_is_cut_at_its_limit_and_says_so(self, subject: Subject) -> None:
        key = new_key()
        answer = await subject.executor.execute(subject.call(subject.long, output_bytes=1024), key=key)
        await subject.executor.discard(key)
        assert 0 < len(answer.text.encode()) <= 1024
        assert "output cut at its limit" in answer.error

    async def test_an_action_that_fails_is_an_answer(self, subject: Subject) -> None:
        key = new_key()
        answer = await subject.executor.execute(subject.call(subject.failing), key=key)
        await subject.executor.discard(key)
        assert not answer.ok
        assert answer.exit_code != 0
        assert answer.error

    async def test_an_answer_says_what_it_used(self, subject: Subject) -> None:
        key = new_key()
        answer = await subject.executor.execute(subject.call(subject.unique), key=key)
        await subject.executor.discard(key)
        assert answer.usage.tool_calls == 1

    async def test_a_key_that_was_discarded_is_new(self, subject: Subject) -> None:
        key, call = new_key(), subject.call(subject.unique)
        first = await subject.executor.execute(call, key=key)
        await subject.executor.discard(key)
        await subject.executor.discard(key)
        second = await subject.executor.execute(call, key=key)
        await subject.executor.discard(key)
        assert first.text != second.text

    async def test_what_cannot_be_reached_is_unavailable(self, subject: Subject) -> None:
        with pytest.raises(Unavailable):
            await subject.unreachable.execute(subject.call(subject.unique), key=new_key())
