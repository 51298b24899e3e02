"""The pass of the gate is good for one attempt in one process."""

import asyncio
import contextvars
import multiprocessing
import threading
import time

import pytest

from capsules.actions.activity_context import ActivityContext, activity_context, current_context
from capsules.actions.ledger_messages import AttemptKey
from capsules.errors import AuthorityRefused
from capsules.identity.authority import Authority


def granted() -> ActivityContext:
    run = "acme/asks/1"
    authority = Authority(kind="run", tenant="acme", actor="a", run=run, account="a", expires_at=int(time.time()) + 60)
    return ActivityContext(
        authority=authority, key=AttemptKey(tenant="acme", run=run, execution="e", activity="1", attempt=1)
    )


def ask(answers: "multiprocessing.SimpleQueue[str]") -> None:
    try:
        answers.put(current_context().key.run)
    except AuthorityRefused as error:
        answers.put(error.message)


def test_it_is_there_within_the_attempt_only() -> None:
    with activity_context(granted()) as context:
        assert current_context() is context
    with pytest.raises(AuthorityRefused, match="No gate"):
        current_context()


def test_a_thread_of_the_attempt_has_it() -> None:
    with activity_context(granted()) as context:
        found: list[ActivityContext] = []
        thread = threading.Thread(
            target=contextvars.copy_context().run, args=(lambda: found.append(current_context()),)
        )
        thread.start()
        thread.join()
    assert found == [context]


async def test_a_task_that_outlives_the_attempt_has_it_no_more() -> None:
    ended = asyncio.Event()

    async def late() -> ActivityContext:
        await ended.wait()
        return current_context()

    with activity_context(granted()):
        task = asyncio.create_task(late())
        await asyncio.sleep(0)
    ended.set()
    with pytest.raises(AuthorityRefused, match="has ended"):
        await task


def test_a_process_that_was_forked_within_the_attempt_does_not_have_it() -> None:
    """A process pool forks its workers when it is first used, and keeps what the contexts were then."""
    fork = multiprocessing.get_context("fork")
    answers = fork.SimpleQueue()
    with activity_context(granted()):
        process = fork.Process(target=ask, args=(answers,))
        process.start()
        process.join()
    assert "another process" in answers.get()
