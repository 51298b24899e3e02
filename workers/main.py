"""Worker process: `python -m workers.main --queues capsules,slm,memory,platform`."""

import argparse
import asyncio
import contextlib
from datetime import timedelta

import structlog
from temporalio.worker import Worker

from capsules.errors import SomaError
from sandbox.container import DockerSandbox
from somagent.settings import Settings
from somagent.stop_signals import exit_when_refused, on_stop_signal
from somagent.telemetry import configure_logging, tracing
from workers.assembly import Assembly, assemble
from workers.metrics import serve_metrics
from workers.queues import Queue, queues
from workflows.authority_interceptor import AuthorityInterceptor
from workflows.options import QUEUES, TOOLS

log = structlog.get_logger(__name__)

# How long a running tool has at shutdown before its activity is cancelled: less than the supervisor waits before it
# kills the process.
GRACE = timedelta(seconds=10)

# A worker that died after it recorded an effect leaves its container. It is removed after a day, when no retry can
# need it any more.
REAP_EVERY_SECONDS = 600
KEPT_SECONDS = 86_400


def build_worker(assembly: Assembly, queue: Queue) -> Worker:
    """Return the worker of one queue, with the gate before its activities and the authority interceptor."""
    return Worker(
        assembly.client,
        task_queue=queue.name,
        activities=list(queue.activities),
        workflows=list(queue.workflows),
        interceptors=[assembly.interceptor, AuthorityInterceptor()],
        max_concurrent_activities=queue.at_once,
        graceful_shutdown_timeout=GRACE,
        # Cancellation arrives with a heartbeat: throttled to a second, a container stops within a few.
        max_heartbeat_throttle_interval=timedelta(seconds=1),
        default_heartbeat_throttle_interval=timedelta(seconds=1),
    )


async def work(settings: Settings, names: list[str], metrics_port: int | None = None) -> None:
    """Serve the named queues until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(on_stop_signal(stop.set))
        assembly = await stack.enter_async_context(assemble(settings, names))
        stack.enter_context(serve_metrics(assembly.metrics, settings, metrics_port))
        known = queues(assembly)
        for name in names:
            await stack.enter_async_context(build_worker(assembly, known[name]))
        if TOOLS in names:
            reaping = asyncio.create_task(reap(assembly.sandbox))
            stack.callback(reaping.cancel)
        log.info("worker.ready", queues=names)
        await stop.wait()
        log.info("worker.stopping", queues=names)


async def reap(sandbox: DockerSandbox) -> None:
    """Remove containers that no retry can need, every ten minutes."""
    while True:
        try:
            if reaped := await sandbox.reap(KEPT_SECONDS):
                log.info("containers.reaped", count=reaped)
        except SomaError as error:
            log.warning("containers.not_reaped", code=error.code, problem=error.message)
        await asyncio.sleep(REAP_EVERY_SECONDS)


def main() -> None:
    parser = argparse.ArgumentParser(prog="workers.main", description="Serve task queues.")
    parser.add_argument("--queues", default=",".join(QUEUES), help="comma-separated queue names")
    parser.add_argument("--metrics-port", type=int, help="serve metrics for Prometheus here; unset: nowhere")
    arguments = parser.parse_args()
    names = arguments.queues.split(",")
    if unknown := sorted(set(names) - set(QUEUES)):
        parser.error(f"There is no queue {', '.join(map(repr, unknown))}. Known: {', '.join(QUEUES)}.")
    settings = Settings()
    configure_logging(settings)
    with exit_when_refused("worker"), tracing(settings, "worker"):
        asyncio.run(work(settings, names, arguments.metrics_port))


if __name__ == "__main__":
    main()
