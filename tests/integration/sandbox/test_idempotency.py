"""A key's command happens once, whoever dies: the container of the key is the memory of it."""

import asyncio
import signal
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from capsules.errors import Conflict, EffectFailed, Unavailable
from sandbox import isolation, wire
from sandbox.container import DEADLINE, SCOPE, DockerSandbox
from sandbox.supervisor import KEY_BYTES

NUMBER = ("python3", "-c", "import random; print(random.getrandbits(64))")
CLIENT = """
import asyncio, sys
from capsules.tools.tool import ContainerSpec
from sandbox.container import DockerSandbox

async def main():
    spec = ContainerSpec.model_validate_json(sys.argv[1])
    await DockerSandbox(image=spec.image, host={host!r}, runtime={runtime!r}, scope={scope!r}).run(spec, key=sys.argv[2])

asyncio.run(main())
"""


async def until(condition, seconds=15):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition never came true"
        await asyncio.sleep(0.05)


async def test_the_same_key_gives_the_same_result(sandbox, spec, key, container):
    first = await sandbox.run(spec(*NUMBER), key=key)
    assert await sandbox.run(spec(*NUMBER), key=key) == first
    assert container.starts() == 1


async def test_another_key_runs_again(sandbox, spec, key):
    first = await sandbox.run(spec(*NUMBER), key=key)
    second = await sandbox.run(spec(*NUMBER), key=key + "/2")
    await sandbox.discard(key + "/2")
    assert first.stdout != second.stdout


async def test_many_at_once_with_one_key_run_once(sandbox, spec, key, container):
    results = await asyncio.gather(*(sandbox.run(spec(*NUMBER), key=key) for _ in range(6)))
    assert len({result.stdout for result in results}) == 1
    assert container.starts() == 1


async def test_a_key_used_for_something_else_is_a_conflict(sandbox, spec, key):
    await sandbox.run(spec(*NUMBER), key=key)
    with pytest.raises(Conflict):
        await sandbox.run(spec("true"), key=key)


@pytest.mark.parametrize("finished", [False, True])
async def test_a_killed_client_loses_nothing(  # noqa: PLR0917 - fixtures
    lane, sandbox, spec, key, container, finished
):
    asked = spec("python3", "-c", "import random, time; print(random.getrandbits(64), flush=True); time.sleep(3)")
    program = CLIENT.format(scope=sandbox._scope, host=lane.host, runtime=lane.runtime)
    client = await asyncio.create_subprocess_exec(sys.executable, "-c", program, asked.model_dump_json(), key)
    await until(lambda: container.exists(status="running"))
    await until(lambda: b"o" in container.get().logs())
    client.send_signal(signal.SIGKILL)
    await client.wait()
    if finished:
        await until(lambda: container.exists(status="exited"))
    result = await sandbox.run(asked, key=key)
    assert (result.exit_code, len(result.stdout) > 5, result.truncated) == (0, True, False)
    assert result == await sandbox.run(asked, key=key)
    assert container.starts() == 1


async def test_a_container_made_but_not_started_is_started_once(sandbox, spec, key, container):
    asked = spec(*NUMBER)
    await sandbox._create(asked, container.name, wire.fingerprint(asked, wire.frame(asked)), bytes(KEY_BYTES))
    assert (await sandbox.run(asked, key=key)).exit_code == 0
    assert container.starts() == 1


@pytest.mark.parametrize("sent", [0, 100, -1])
async def test_a_client_that_died_while_it_sent_the_input_has_not_begun_the_command(  # noqa: PLR0917 - fixtures
    sandbox, engine, spec, key, container, sent
):
    asked = spec(*NUMBER, files={"a": "x" * 1000})
    framed, report_key = wire.frame(asked), bytes(KEY_BYTES)
    identity = await sandbox._create(asked, container.name, wire.fingerprint(asked, framed), report_key)
    attached = engine.api.attach_socket(identity, {"stream": 1, "stdin": 1})
    engine.api.start(identity)
    attached._sock.sendall((report_key + framed)[:sent])
    attached._response.close()
    assert container.get().logs() == b""
    assert (await sandbox.run(asked, key=key)).exit_code == 0


async def test_a_container_killed_from_outside_has_an_outcome_and_no_second_run(sandbox, spec, key, container):
    asked = spec("python3", "-c", "import time; print('begun', flush=True); time.sleep(15)")
    running = asyncio.create_task(sandbox.run(asked, key=key))
    await until(lambda: container.exists(status="running"))
    await until(lambda: b"o" in container.get().logs())
    container.get().kill()
    result = await running
    assert (result.exit_code, result.stdout, result.truncated) == (137, "begun\n", True)
    assert (await sandbox.run(asked, key=key)).exit_code == 137
    assert container.starts() == 1


@pytest.mark.parametrize("after", [0.0, 0.01, 0.05, 0.1, 0.3, 1.0])
async def test_cancelling_removes_the_container_within_ten_seconds(sandbox, spec, key, container, after):
    running = asyncio.create_task(sandbox.run(spec("sleep", "15"), key=key))
    await asyncio.sleep(after)
    began = time.monotonic()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert time.monotonic() - began < 10
    assert not container.exists()


async def test_cancelling_twice_still_removes_the_container(sandbox, spec, key, container):
    running = asyncio.create_task(sandbox.run(spec("sleep", "15"), key=key))
    await until(lambda: container.exists(status="running"))
    running.cancel()
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await until(lambda: not container.exists(), seconds=10)


async def test_more_than_may_run_at_once_take_turns(image, lane, spec, key):
    narrow = lane.sandbox(image, at_once=1)
    keys = [f"{key}/{number}" for number in range(3)]
    asked = spec("python3", "-c", "import time; print(time.time()); time.sleep(0.5)")
    results = await asyncio.gather(*(narrow.run(asked, key=k) for k in keys))
    for k in keys:
        await narrow.discard(k)
    began = sorted(float(result.stdout) for result in results)
    assert began[1] - began[0] >= 0.5
    assert began[2] - began[1] >= 0.5


async def test_discard_removes_and_may_be_repeated(sandbox, spec, key, container):
    await sandbox.run(spec("true"), key=key)
    assert container.exists()
    await sandbox.discard(key)
    assert not container.exists()
    await sandbox.discard(key)


async def test_labels_tell_whose_it_is(sandbox, spec, key, container):
    await sandbox.run(spec("true", labels={"somagent.run": "r1", "somagent.tenant": "t1", "somagent": "0"}), key=key)
    labels = container.get().labels
    assert (labels["somagent"], labels["somagent.run"], labels["somagent.tenant"]) == ("1", "r1", "t1")


async def test_reaping_removes_what_ended_long_ago_and_nothing_else(sandbox, spec, key, container):
    await sandbox.run(spec("true"), key=key)
    await until(lambda: container.exists(status="exited"))
    await sandbox.reap(3600)
    assert container.exists()
    await asyncio.sleep(1.1)
    assert await sandbox.reap(1) >= 1
    assert not container.exists()


async def test_reaping_leaves_a_running_container_before_its_deadline(sandbox, spec, key, container):
    running = asyncio.create_task(sandbox.run(spec("sleep", "4"), key=key))
    await until(lambda: container.exists(status="running"))
    await sandbox.reap(0)
    assert (await running).exit_code == 0


async def test_reaping_stops_a_container_past_its_deadline(sandbox, lane, engine, spec, container):
    body = isolation.container_config(
        spec("true"),
        runtime=lane.runtime,
        profile="script",
        labels={"somagent": "1", SCOPE: sandbox._scope, DEADLINE: str(int(time.time()) - 1)},
    )
    identity = engine.api.create_container_from_config(body, container.name)["Id"]
    attached = engine.api.attach_socket(identity, {"stream": 1, "stdin": 1})
    with closing(attached._response):
        engine.api.start(identity)
        assert await sandbox.reap(3600) >= 1
        await until(lambda: container.exists(status="exited"))


async def test_a_report_without_its_end_is_no_success(sandbox, lane, engine, spec, key, container):  # noqa: PLR0917 - fixtures
    asked, report_key = spec("true"), bytes(KEY_BYTES)
    labels = {"somagent.spec": wire.fingerprint(asked, wire.frame(asked)), "somagent.report": report_key.hex()}
    body = isolation.container_config(asked, runtime=lane.runtime, profile="script", labels=labels)
    supervisor = Path(isolation.__file__).with_name("supervisor.py").read_text()
    ends = supervisor.partition("if __name__")[0] + f"Report({report_key!r}).write(b'b')"
    body |= {"Entrypoint": ["python3", "-c", ends], "Cmd": []}
    engine.api.start(engine.api.create_container_from_config(body, container.name)["Id"])
    with pytest.raises(EffectFailed, match="how the program ended is not known"):
        await sandbox.run(asked, key=key)


async def test_a_missing_image_says_how_to_build_it(spec, key):
    absent = DockerSandbox(image="somagent-no-such:image")
    with pytest.raises(Unavailable, match=r"python -m sandbox\.image"):
        await absent.ready()
    with pytest.raises(Unavailable, match=r"python -m sandbox\.image"):
        await absent.run(spec("true").model_copy(update={"image": "somagent-no-such:image"}), key=key)


async def test_a_missing_engine_is_named(image):
    with pytest.raises(Unavailable, match=r"no-such\.sock"):
        await DockerSandbox(image=image, host="unix:///tmp/no-such.sock").ready()


async def test_an_unknown_runtime_runs_nothing(image, spec, key, container):
    other = DockerSandbox(image=image, runtime="no-such-runtime")
    with pytest.raises(Unavailable, match="no-such-runtime"):
        await other.ready()
    with pytest.raises(Unavailable, match="no-such-runtime"):
        await other.run(spec("true"), key=key)
    assert not container.exists()


async def test_this_engine_is_ready(sandbox):
    await sandbox.ready()
