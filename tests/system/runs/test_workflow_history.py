"""Size of workflow histories: small, and growing evenly with the number of steps."""

import pytest
from capsule_texts import many_steps
from platforms import Platform
from temporalio.worker import Replayer

from somagent.identity.keys import KeyRing
from somagent.temporal.client import PURE_PACKAGES, connect, somagent_plugin
from workflows.authority_interceptor import WORKFLOWS, AuthorityInterceptor

MOST_OF_A_STEP = 5 * 2**20 // 200
"""Bytes of history: two hundred steps fit into 5 MiB."""


def think_step(number: int) -> dict[str, object]:
    shape = {
        "type": "object",
        "properties": {"n": {"enum": [number]}},
        "required": ["n"],
        "additionalProperties": False,
    }
    return {"id": f"think_{number}", "think": f"Say {number}.", "schema": shape}


def tool(number: int) -> dict[str, object]:
    return {"id": f"tool_{number}", "use": "python/run", "with": {"code": f"print({number})"}}


@pytest.mark.parametrize("count", [40, pytest.param(200, marks=pytest.mark.long)])
async def test_a_run_of_many_steps_has_a_small_history_that_grows_evenly(platform: Platform, count: int) -> None:
    steps = [tool(n) if n % 4 else think_step(n) for n in range(count)]
    run = await platform.run(await platform.publish(many_steps(f"steps-{count}", steps)), {}, seconds=280)
    assert run["status"] == "completed", run["reason"]
    client = await connect(platform.settings, KeyRing.load(platform.settings.keys_dir))
    history = await client.get_workflow_handle(run["id"]).fetch_history()
    sizes = [event.ByteSize() for event in history.events]
    assert sum(sizes) < count * MOST_OF_A_STEP
    quarter = len(sizes) // 4
    early, late = sum(sizes[quarter : 2 * quarter]), sum(sizes[3 * quarter :])
    assert late < early * 1.15, f"the last quarter has {late} bytes, the second {early}"


@pytest.mark.parametrize("pass_through", [PURE_PACKAGES, ()], ids=["production", "strict"])
async def test_the_history_of_a_run_replays(platform: Platform, pass_through: tuple[str, ...]) -> None:
    """Its payloads are bound to the run and to activity ids that the workflow computes."""
    keyring = KeyRing.load(platform.settings.keys_dir)
    run = await platform.run(await platform.publish(many_steps("replays", [tool(0), tool(1)])), {})
    assert run["status"] == "completed", run["reason"]
    client = await connect(platform.settings, keyring)
    history = await client.get_workflow_handle(run["id"]).fetch_history()
    replayer = Replayer(
        workflows=WORKFLOWS,
        interceptors=[AuthorityInterceptor()],
        plugins=[somagent_plugin(keyring, pass_through=pass_through)],
        namespace=client.namespace,
    )
    assert (await replayer.replay_workflow(history)).replay_failure is None
