"""A model server or a Docker engine that is away: the run waits, says for what, and goes on or ends in time."""

from capsule_texts import thinker, utility
from outages import waiting_for, with_model, without_engine
from platforms import Platform
from servers import eventually
from temporalio.client import Client

HELLO = 'print("{}")'


async def reason_is_told(client: Client, run: str, *words: str) -> None:
    async def told() -> None:
        reasons = await waiting_for(client, run)
        assert any(all(word in reason for word in words) for reason in reasons), reasons

    await eventually(told, seconds=30)


async def test_a_run_waits_for_its_model_server_and_goes_on_when_it_is_back(stack: Platform, temporal: Client) -> None:
    run = await stack.start(await stack.publish(thinker("waits")), {})
    await reason_is_told(temporal, run, "slm.chat", "Unavailable", stack.settings.slm_base())
    assert (await stack.show(run))["status"] == "running"
    async with with_model(stack.settings):
        ended = await stack.until(run, seconds=60)
    assert (ended["status"], ended["reason"]) == ("completed", "")
    assert 0 < ended["spent"]["tokens"] < 1000
    account = await stack.account(run)
    assert account["reserved"] == {"tokens": 0, "micro_usd": 0, "tool_calls": 0}


async def test_a_model_server_that_stays_away_ends_the_run_at_its_wall_clock(stack: Platform) -> None:
    before = await stack.account()
    run = await stack.run(await stack.publish(thinker("gives-up", wall_clock="4s")), {}, seconds=60)
    assert run["status"] == "failed"
    assert "wall clock budget of 4 s is spent" in run["reason"]
    assert run["spent"] == {"tokens": 0, "micro_usd": 0, "tool_calls": 0}
    after = await stack.account()
    assert (after["reserved"], after["spent"]) == (before["reserved"], before["spent"])


async def test_a_run_waits_for_the_docker_engine_and_goes_on_when_it_is_back(stack: Platform, temporal: Client) -> None:
    ref = await stack.publish(utility("waits-for-docker", HELLO))
    with without_engine(stack.settings):
        run = await stack.start(ref, {})
        await reason_is_told(temporal, run, "tool.invoke", "Unavailable", stack.settings.docker_host)
        assert (await stack.show(run))["status"] == "running"
    ended = await stack.until(run, seconds=60)
    assert (ended["status"], ended["reason"], ended["spent"]["tool_calls"]) == ("completed", "", 1)


async def test_an_engine_that_stays_away_ends_the_run_at_its_wall_clock(stack: Platform) -> None:
    ref = await stack.publish(utility("gives-docker-up", HELLO, budget="{tool_calls: 2, wall_clock: 4s}"))
    with without_engine(stack.settings):
        run = await stack.run(ref, {}, seconds=60)
    assert run["status"] == "failed"
    assert "wall clock budget of 4 s is spent" in run["reason"]
    assert run["spent"]["tool_calls"] == 0
