"""Every way round the gate that an application has, on purpose or by mistake, ends without an effect."""

from dataclasses import dataclass
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.client import Client, Interceptor, OutboundInterceptor, StartWorkflowInput, WorkflowFailureError

from capsules.actions.headers import AUTHORITY
from capsules.errors import AuthorityRefused
from somagent.governance import Application, governed


@dataclass
class Copies(Interceptor):
    """Starts workflows with a header that was copied from a history."""

    header: Payload

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:  # noqa: A002
        return _Copying(next, self.header)


class _Copying(OutboundInterceptor):
    def __init__(self, next: OutboundInterceptor, header: Payload) -> None:  # noqa: A002
        super().__init__(next)
        self._header = header

    async def start_workflow(self, input: StartWorkflowInput) -> Any:  # noqa: A002
        input.headers = {**input.headers, AUTHORITY: self._header}
        return await super().start_workflow(input)


async def test_a_local_activity_is_refused(shop, order):
    bought = order()
    handle = await shop.call_later("charge_card", bought, "4111", how="local")
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    assert failed.value.cause.type == "UngovernedActivity"
    assert "local activity 'charge_card'" in failed.value.cause.message
    assert shop.book(bought["id"]) == []


async def test_a_local_activity_on_the_platforms_list_passes(shop):
    answer, _ = await shop.call("ping", how="local")
    assert answer == "pong"


async def test_a_workflow_that_was_started_without_the_plugin_has_no_effect(shop, order):
    plain = await Client.connect(shop.address)
    bought = order()
    answer = await plain.execute_workflow(
        "CallOneActivity",
        args=["charge_card", [bought, "4111"], "fails fast"],
        id=f"plain {bought['id']}",
        task_queue=shop.queue,
    )
    assert (answer["refused"], answer["final"]) == ("AuthorityRefused", True)
    assert "governance plugin" in answer["why"]
    assert shop.book(bought["id"]) == []


async def test_a_worker_without_the_plugin_cannot_run_a_marked_body(shop, order, governed):
    bought = order()
    async with governed(plugin="neither") as unguarded:
        for kind, *arguments in (("charge_card", bought, "4111"), ("book_parcel", bought["id"], bought["address"])):
            answer, _ = await unguarded.call(kind, *arguments)
            assert "without the policy interceptor" in answer["why"]
    assert shop.book(bought["id"]) == []


async def test_a_marked_function_refuses_outside_the_gate():
    reached = []

    @governed(effect="write")
    async def charge(card: str) -> None:
        reached.append(card)

    @governed(effect="write")
    def book(order: str) -> None:
        reached.append(order)

    with pytest.raises(AuthorityRefused, match="No gate"):
        await charge("4111")
    with pytest.raises(AuthorityRefused, match="No gate"):
        book("o-1")
    assert reached == []


async def test_a_history_does_not_show_the_authority(shop, order):
    handle = await shop.start("Fulfilment", order(), "4111111111111111")
    await handle.result()
    header = await header_of(handle)
    assert header.metadata["encoding"] == b"binary/encrypted"
    assert b"eyJ" not in header.data


async def test_a_header_that_was_copied_opens_nothing_else(shop, order):
    handle = await shop.start("Fulfilment", order(), "4111111111111111")
    await handle.result()
    thief = await Client.connect(shop.address, interceptors=[Copies(await header_of(handle))])
    bought = order()
    answer = await thief.execute_workflow(
        "CallOneActivity",
        args=["charge_card", [bought, "4111"], "fails fast"],
        id=f"thief {bought['id']}",
        task_queue=shop.queue,
    )
    assert (answer["refused"], answer["final"]) == ("AuthorityRefused", True)
    assert shop.book(bought["id"]) == []


async def test_the_authority_of_another_application_opens_nothing(shop, order):
    other = Application(tenant=shop.terms.application.tenant, name="returns")
    bought = order()
    async with shop.caller(shop.terms.model_copy(update={"application": other})) as returns:
        answer = await returns.execute_workflow(
            "CallOneActivity",
            args=["charge_card", [bought, "4111"], "fails fast"],
            id=f"lent {bought['id']}",
            task_queue=shop.queue,
        )
    assert (answer["refused"], answer["final"]) == ("AuthorityRefused", True)
    assert "returns" in answer["why"]
    assert shop.book(bought["id"]) == []


async def test_an_authority_that_ran_out_is_refused(shop, order):
    bought = order()
    async with shop.caller(
        shop.terms.model_copy(update={"authority_lifetime": -shop.terms.authority_lifetime})
    ) as late:
        answer = await late.execute_workflow(
            "CallOneActivity",
            args=["charge_card", [bought, "4111"], "fails fast"],
            id=f"late {bought['id']}",
            task_queue=shop.queue,
        )
    assert (answer["refused"], answer["final"]) == ("AuthorityRefused", True)
    assert "expired" in answer["why"]
    assert shop.book(bought["id"]) == []


async def header_of(handle: Any) -> Payload:
    started = (await handle.fetch_history()).events[0].workflow_execution_started_event_attributes
    return started.header.fields[AUTHORITY]
