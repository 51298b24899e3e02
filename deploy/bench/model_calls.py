"""Benchmark of model calls: tokens per second of the governed activity `slm.chat`, against llama.cpp's own endpoint."""

import time
import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
from bench import Bench, Turns, timed
from results import Goal, Result, result
from rig import LOCK, Rig, rig
from temporalio import workflow

from capsules.actions.verdict import Outcome
from capsules.budgets.amounts import Amounts
from capsules.models.chat import ChatReply, ChatRequest, Message

QUEUE = "bench-chat"
TOKENS = 160
PROMPT = (
    "Story number {number}. Tell this story in many long sentences, with every detail of the place, the weather, the "
    "people and what they say: two sailors and a cook repair an old lighthouse before the first storm of the autumn."
)


@dataclass(frozen=True)
class Job:
    authority: str
    request: ChatRequest


@dataclass(frozen=True)
class ChatTiming:
    seconds: float
    finish_reason: str


@workflow.defn(name="Chats", sandboxed=False)
class Chats:
    """Calls the model once and returns the seconds. It reads a clock, so it is not sandboxed."""

    @workflow.init
    def __init__(self, job: Job) -> None:
        self.authority = job.authority

    @workflow.run
    async def run(self, job: Job) -> ChatTiming:
        began = time.perf_counter()
        outcome: Outcome[ChatReply] = await workflow.execute_activity(
            "slm.chat",
            job.request,
            result_type=Outcome[ChatReply],
            start_to_close_timeout=timedelta(minutes=2),
            heartbeat_timeout=timedelta(seconds=15),
        )
        return ChatTiming(time.perf_counter() - began, outcome.value.finish_reason)


async def measure(turns: Turns) -> list[Result]:
    async with rig(turns.settings) as found, httpx.AsyncClient(timeout=120) as http:
        models = found.assembly.models
        assert models is not None, "every queue is served here"
        await found.work(QUEUE, activities=[models.chat], workflow=Chats, governed=True)

        async def ours() -> list[float]:
            return [TOKENS / await _through_slm_chat(found, _prompt())]

        async def anchor() -> list[float]:
            return [TOKENS / await _direct(http, turns, _prompt())]

        rates = await turns.compare(ours, anchor, warm=True)
    return [result("chat-tokens", "tokens/s", *rates, goal=Goal("ratio", ">=", 0.9))]


def _prompt() -> str:
    """Return a new prompt, so that the server's prompt cache helps neither side."""
    return PROMPT.format(number=uuid.uuid4().int % 10**9)


async def _through_slm_chat(found: Rig, prompt: str) -> float:
    (run,) = await found.new_runs(1, Amounts(tokens=10_000))
    request = ChatRequest(
        role="dialogue", messages=(Message(role="user", text=prompt),), max_output_tokens=TOKENS, temperature=0
    )
    timing = await found.assembly.client.execute_workflow(
        Chats.run, Job(run.authority, request), id=run.id, task_queue=QUEUE
    )
    assert timing.finish_reason == "length", f"the model stopped by itself: {timing.finish_reason}"
    return timing.seconds


async def _direct(http: httpx.AsyncClient, turns: Turns, prompt: str) -> float:
    messages = [{"role": "system", "content": LOCK.system_prompt()}, {"role": "user", "content": prompt}]
    body = {"model": turns.settings.slm_model, "messages": messages, "max_tokens": TOKENS, "temperature": 0}
    seconds, answer = await timed(http.post(f"{turns.settings.slm_base()}/chat/completions", json=body))
    usage: Any = answer.raise_for_status().json()["usage"]
    assert usage["completion_tokens"] == TOKENS, usage
    return seconds


BENCH = Bench(
    name="model-calls",
    needs=("bootstrap", "temporal", "valkey", "slm"),
    measure=measure,
    explained={
        "chat-tokens": f"{TOKENS} tokens of reply at temperature 0: the governed activity `slm.chat`, timed inside a "
        "workflow from asking to result (Temporal, gate, ledger, every piece streamed to Valkey, transcript written), "
        "against one plain, unstreamed POST to llama.cpp's `/v1/chat/completions`. Tokens over the whole time, reading "
        "the prompt included; every call has a prompt of its own, so the prompt cache helps neither."
    },
)
