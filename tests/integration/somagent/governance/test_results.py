"""What an activity returns comes back as it returned it, also when it is read from the record instead of done again."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
from foreign_calls import Calls
from orders.model import Parcel, Receipt
from temporalio import activity
from temporalio.client import Client
from temporalio.client import Interceptor as ClientInterceptor
from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor, Worker

from capsules.budgets.amounts import Amounts


@dataclass
class LosesReports(ClientInterceptor, Interceptor):
    """Before the gate: loses what every first attempt answers, as a worker does that dies before it reports."""

    answers: list[Any] = field(default_factory=list)

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        return _Losing(next, self.answers)


class _Losing(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, answers: list[Any]) -> None:  # noqa: A002
        super().__init__(next)
        self._answers = answers

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        answer = await super().execute_activity(input)
        self._answers.append(answer)
        if activity.info().attempt == 1:
            raise ApplicationError("the worker died")
        return answer


async def test_a_retry_gets_the_recorded_result_in_its_declared_type(shop, order, governed):
    losing = LosesReports()
    async with governed(before=[losing]) as lossy:
        bought = order()
        receipt, run = await lossy.call("charge_card", bought, "4111")
        assert receipt == {"order": bought.id, "charge": f"ch-{bought.id}", "cents": bought.total_cents}
        assert losing.answers == [Receipt(bought.id, f"ch-{bought.id}", bought.total_cents)] * 2
        assert [line["what"] for line in lossy.book(bought.id)] == ["charged"], "it was charged once"
        assert await lossy.decisions(run) == ["allow", "outcome", "allow"]
        await lossy.call("book_parcel", bought.id, bought.address)
        assert losing.answers[2:] == [Parcel(bought.id, f"tr-{bought.id}", "Turin")] * 2
        answer, _ = await lossy.call("weigh", bought.id)
        assert (losing.answers[4:], answer) == ([b"\x00\xff"] * 2, b"\x00\xff")


async def test_what_is_reported_counts_and_otherwise_the_upper_bound(shop, order):
    bought = order()
    _, run = await shop.call("charge_card", bought, "4111")
    assert (await shop.account(f"run:{run}")).spent == Amounts(tool_calls=1, micro_usd=bought.total_cents * 10_000)
    _, run = await shop.call("reserve_stock", bought.lines[0], bought.id)
    assert (await shop.account(f"run:{run}")).spent == Amounts(tool_calls=1)


async def test_a_failed_body_pays_for_what_it_reported(shop, order):
    answer, run = await shop.call("decline", order().id)
    assert (answer["refused"], answer["why"]) == ("Declined", "the bank says no")
    spent = (await shop.account(f"run:{run}")).spent
    assert spent == Amounts(micro_usd=3 * 70), "three attempts, each reported before it failed"
    assert await shop.decisions(run) == ["allow", "outcome"] * 3


async def test_what_an_activity_keeps_in_its_heartbeats_is_its_own(shop, order):
    answer, run = await shop.call("ship_slowly", order().id)
    assert answer == ["half", "way"]
    assert await shop.decisions(run) == ["allow", "outcome"] * 2


async def test_payloads_are_encrypted_when_the_application_wants_it(shop, order, governed):
    async with governed(encrypt=True) as sealed:
        bought = order()
        handle = await sealed.call_later("charge_card", bought, "4111 1111", how="fails fast")
        assert (await handle.result())["charge"] == f"ch-{bought.id}"
        history = str(await handle.fetch_history())
        assert bought.id not in history.replace(handle.id, "")


async def test_a_worker_can_have_the_plugin_without_its_client(shop, order, activities):
    plain = await Client.connect(shop.address)
    queue = f"worker-only-{order().id}"
    async with Worker(
        plain,
        task_queue=queue,
        workflows=[Calls],
        activities=activities(shop.shop),
        activity_executor=ThreadPoolExecutor(1),
        plugins=[shop.plugin],
    ):
        handle = await shop.client.start_workflow(
            Calls.run, args=["count_shelf", [3], "fails fast"], id=queue, task_queue=queue
        )
        assert await handle.result() == 30
    assert await shop.decisions(await shop.run_of(handle)) == ["allow", "outcome"]


async def test_the_plugin_given_to_client_and_worker_is_one_gate(shop, order, governed):
    async with AsyncExitStack() as stack:
        with pytest.warns(UserWarning, match="same plugin type"):
            doubled = await stack.enter_async_context(governed(twice=True))
        _, run = await doubled.call("charge_card", order(), "4111")
        assert await doubled.decisions(run) == ["allow", "outcome"]
