"""Workers of the example application in one process of its own: `python -m orders_worker` in the application's directory.

Each line of its input is a command in JSON, each line of its output the answer. `start` runs a worker on a queue of its
own, with more activities and workflows than the example's; `stop` ends it; `replay` replays a history with the plugin.
"""

import asyncio
import json
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from application_workflows import AbandonChild, CallOneActivity, CountOnUpdate
from temporalio import activity
from temporalio.client import Client, WorkflowHistory
from temporalio.client import Interceptor as ClientInterceptor
from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor, Replayer, Worker

from activities import Shop
from somagent.governance import Amounts, Settings, Terms, governance, governed, report_usage
from workflows import Fulfilment, Shipping, Stocktakings

WORKFLOWS = [Fulfilment, Shipping, Stocktakings, CountOnUpdate, CallOneActivity, AbandonChild]


class Extras:
    """More activities of the shop: those that only some test needs."""

    def __init__(self, book: Path) -> None:
        self.book = book

    @activity.defn
    @governed(effect="write", data="internal", egress="open", cost=Amounts(micro_usd=100))
    async def decline(self, order: str) -> None:
        report_usage(Amounts(micro_usd=70))
        raise ApplicationError("the bank says no", type="Declined")

    @activity.defn
    @governed(effect="read", data="internal", egress="none", idempotent=True)
    async def weigh(self, order: str) -> bytes:
        return b"\x00\xff"

    @activity.defn
    @governed(effect="read", data="internal", egress="none", idempotent=True)
    async def ship_slowly(self, order: str) -> list[str]:
        """Keep in heartbeats how far it is, die, and tell what the next attempt found."""
        if activity.info().attempt == 1:
            activity.heartbeat("half", "way")
            await asyncio.sleep(2.5)
            raise ApplicationError("the lorry broke down")
        return list(activity.info().heartbeat_details)

    @activity.defn
    @governed(effect="write", data="internal", egress="open", target="bank/notify")
    async def notify_bank(self, order: str) -> None:
        with self.book.open("a", encoding="utf-8") as book:
            book.write(json.dumps({"what": "notified", "whose": order}) + "\n")


@dataclass
class LosesReports(ClientInterceptor, Interceptor):
    """Before the gate: notes each answer, and loses that of a first attempt, as a worker that dies before it reports."""

    answers: Path

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        return _Losing(next, self.answers)


class _Losing(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, answers: Path) -> None:  # noqa: A002
        super().__init__(next)
        self._answers = answers

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        answer = await super().execute_activity(input)
        with self._answers.open("a", encoding="utf-8") as answers:
            answers.write(f"{answer!r}\n")
        if activity.info().attempt == 1:
            raise ApplicationError("the worker died")
        return answer


async def start(command: dict[str, Any]) -> AsyncExitStack:
    """Run a worker. `plugin`: names who is given the plugin, the client, the worker, both or neither."""
    stack = AsyncExitStack()
    terms = Terms.model_validate(command["terms"])
    plugin = await stack.enter_async_context(governance(Settings(), terms, encrypt=command["encrypt"]))
    client = await Client.connect(
        command["address"],
        plugins=[plugin] if command["plugin"] in {"client", "both"} else [],
        interceptors=[LosesReports(Path(command["answers"]))] if command["answers"] else [],
    )
    shop, extras = Shop(Path(command["book"])), Extras(Path(command["book"]))
    worker = Worker(
        client,
        task_queue=command["queue"],
        workflows=WORKFLOWS,
        activities=[
            *(shop.reserve_stock, shop.charge_card, shop.book_parcel, shop.count_shelf, shop.erase_customer),
            *(shop.ping, shop.forgotten, extras.decline, extras.weigh, extras.notify_bank, extras.ship_slowly),
        ],
        activity_executor=ThreadPoolExecutor(4),
        plugins=[plugin] if command["plugin"] in {"worker", "both"} else [],
    )
    await stack.enter_async_context(worker)
    return stack


async def replay(command: dict[str, Any]) -> None:
    """Replay a history. Raises NondeterminismError."""
    history = WorkflowHistory.from_json("replayed", Path(command["history"]).read_text("utf-8"))
    async with governance(Settings(), Terms.model_validate(command["terms"])) as plugin:
        await Replayer(workflows=WORKFLOWS, plugins=[plugin]).replay_workflow(history)


async def main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # where logs go by default
    running: dict[str, AsyncExitStack] = {}
    while line := await asyncio.to_thread(sys.stdin.readline):
        command = json.loads(line)
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            match command["do"]:
                case "start":
                    running[command["queue"]] = await start(command)
                case "stop":
                    await running.pop(command["queue"]).aclose()
                case "replay":
                    await replay(command)
        said = [str(each.message) for each in warned if each.category is UserWarning]
        print(json.dumps(said), file=answers, flush=True)


if __name__ == "__main__":
    asyncio.run(main())
