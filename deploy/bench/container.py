"""Benchmark of the sandbox: `print(1)` in a hardened container, against plain `docker run`."""

import asyncio
import time
import uuid

from bench import Bench, Turns
from results import Goal, Result, result

from capsules.tools.tool import ContainerSpec
from sandbox.container import DockerSandbox

COMMAND = ("python3", "-c", "print(1)")


async def measure(turns: Turns) -> list[Result]:
    image = turns.settings.sandbox_image
    scope = f"bench-{uuid.uuid4().hex[:8]}"
    sandbox = DockerSandbox(image=image, host=turns.settings.docker_host, scope=scope)
    await sandbox.ready()

    async def ours() -> list[float]:
        key = f"bench/{uuid.uuid4()}"
        began = time.perf_counter()
        found = await sandbox.run(ContainerSpec(image=image, command=COMMAND), key=key)
        await sandbox.discard(key)
        seconds = time.perf_counter() - began
        assert (found.exit_code, found.stdout) == (0, "1\n"), found
        return [seconds]

    async def anchor() -> list[float]:
        began = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            *("docker", "--host", turns.settings.docker_host, "run", "--rm", image, *COMMAND),
            stdout=asyncio.subprocess.PIPE,
        )
        stdout, _ = await process.communicate()
        seconds = time.perf_counter() - began
        assert (process.returncode, stdout) == (0, b"1\n"), stdout
        return [seconds]

    times = await turns.compare(ours, anchor, warm=True)
    return [result("sandbox-print", "ms p50", *times, scale=1e3, goal=Goal("ratio", "<=", 1))]


BENCH = Bench(
    name="container",
    needs=(),
    measure=measure,
    explained={
        "sandbox-print": "`DockerSandbox.run` of `python3 -c 'print(1)'` with every limit, and `discard`, against "
        "`docker run --rm` of the same command in the same image with Docker's defaults; both until the container is "
        "removed."
    },
)
