"""People see and decide the approvals of a governed application where they decide all others."""

import contextlib
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from api_callers import Callers, Registry

from api.app import create_app
from api.deps import open_state
from capsules.runs.url import run_path
from somagent.identity.keys import KeyRing
from somagent.identity.tokens import Tokens


@pytest.fixture
async def api(shop, valkey: str) -> AsyncIterator[httpx.AsyncClient]:
    async with open_state(shop.settings) as state:
        transport = httpx.ASGITransport(create_app(state))
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            yield client


@pytest.fixture
def ana(shop) -> Iterator[dict[str, str]]:
    tokens = Tokens(KeyRing.load(shop.settings.keys_dir))
    with contextlib.closing(Registry(shop.settings.database("app"), tokens)) as registry:
        yield Callers(registry, "shop").all("ana")


async def test_an_approval_is_given_by_the_api(shop, order, api, ana):
    handle = await shop.start("Fulfilment", order(cents=20_000), "4111111111111111")
    run = await shop.run_of(handle)
    approval = await shop.pending(run)
    listed = (await api.get("/v1/approvals", params={"state": "pending", "run": run}, headers=ana)).json()
    assert [each["target"] for each in listed["items"]] == ["orders/charge_card"]
    answer = await api.post(f"/v1/approvals/{approval.id}/approve", json={"comment": "fine"}, headers=ana)
    assert (answer.status_code, answer.json()["decided_by"]) == (200, "ana")
    await handle.result()
    shown = (await api.get(run_path(run), headers=ana)).json()
    assert (shown["capsule"], shown["inputs"]["workflow_id"]) == ("orders@1.0.0", handle.id)


async def test_a_budget_is_raised_by_the_api(shop, order, api, ana, governed):
    small = shop.terms.budget.model_copy(update={"micro_usd": 1_000})
    async with governed(terms=shop.terms.model_copy(update={"budget": small})) as poor:
        bought = order()
        first = await poor.call_later("charge_card", bought, "4111", how="tries until it is paid")
        run = await poor.run_of(first)
        await poor.refused(run)
        answer = await api.post(
            run_path(run, "raise", root="/v1/budgets/runs"), json={"micro_usd": 900_000_000}, headers=ana
        )
        assert answer.status_code == 200, answer.text
        assert (await first.result())["charge"] == f"ch-{bought['id']}"
