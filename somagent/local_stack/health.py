"""Health checks of parts: each connects to the part as its clients do, and raises NotReady with the reason."""

import asyncio
import ssl
from collections.abc import Sequence
from datetime import timedelta

import asyncpg
import httpx
import redis.asyncio as redis
from redis.exceptions import RedisError
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.service import RPCError

from somagent.local_stack.errors import NotReady
from somagent.local_stack.part import HealthCheck, StartedProcess
from somagent.settings import Settings

PATIENCE_SECONDS = 2.0
# Parts answer plain HTTP here. Loading the certificates of public servers takes 25 ms of processor time in every check.
NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
CLOCK_SLACK = timedelta(milliseconds=50)  # Temporal stamps polls with its own clock


def answers_http(url: str) -> HealthCheck:
    """Healthy when the address answers 200."""

    async def check(_: StartedProcess) -> None:
        try:
            async with httpx.AsyncClient(timeout=PATIENCE_SECONDS, trust_env=False, verify=NO_CERTIFICATES) as client:
                answer = await client.get(url)
        except httpx.HTTPError as error:
            raise NotReady(f"{url} does not answer: {type(error).__name__}") from error
        if answer.status_code != httpx.codes.OK:
            raise NotReady(f"{url} answers {answer.status_code}")

    return check


def answers_ping(url: str) -> HealthCheck:
    """Healthy when Valkey or Redis answers PING."""

    async def check(_: StartedProcess) -> None:
        client = redis.from_url(url, socket_timeout=PATIENCE_SECONDS, socket_connect_timeout=PATIENCE_SECONDS)
        try:
            await client.ping()
        except (RedisError, OSError) as error:
            raise NotReady(f"no answer to PING: {error}") from error
        finally:
            await client.aclose()

    return check


def serves_namespace(target: str, namespace: str) -> HealthCheck:
    """Healthy when Temporal's frontend serves and knows the namespace."""

    async def check(_: StartedProcess) -> None:
        client = await _connect(target, namespace)
        try:
            await client.count_workflows()
        except RPCError as error:
            raise NotReady(f"namespace {namespace!r} at {target} is not ready: {error.message}") from error

    return check


def polls(target: str, namespace: str, queues: Sequence[str]) -> HealthCheck:
    """Healthy when this process has polled each queue since it started.

    Polls of other processes, such as its predecessor, do not count.
    """

    async def check(launched: StartedProcess) -> None:
        client = await _connect(target, namespace)
        missing = [queue for queue in queues if not await _polled(client, queue, launched)]
        if missing:
            raise NotReady(f"no poll yet on queue {', '.join(missing)}")

    return check


async def _polled(client: Client, queue: str, launched: StartedProcess) -> bool:
    for kind in (TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY, TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW):
        request = DescribeTaskQueueRequest(
            namespace=client.namespace, task_queue=TaskQueue(name=queue), task_queue_type=kind
        )
        try:
            answer = await client.workflow_service.describe_task_queue(request)
        except RPCError as error:
            raise NotReady(f"queue {queue!r} cannot be described: {error.message}") from error
        for poller in answer.pollers:
            fresh = poller.last_access_time.ToDatetime(launched.since.tzinfo) >= launched.since - CLOCK_SLACK
            if fresh and poller.identity.startswith(f"{launched.pid}@"):
                return True
    return False


async def _connect(target: str, namespace: str) -> Client:
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await Client.connect(target, namespace=namespace)
    except (RuntimeError, TimeoutError) as error:
        raise NotReady(f"Temporal at {target} does not answer") from error


# A role sees its own sessions. The session of the query and those of an earlier process are left out.
SESSIONS = """
SELECT count(*) FROM pg_stat_activity
WHERE usename = current_user AND pid <> pg_backend_pid() AND backend_start >= $1
"""


def has_session(settings: Settings, role: str) -> HealthCheck:
    """Healthy when the role of the process has a session that began after the process."""

    async def check(launched: StartedProcess) -> None:
        url = settings.database(role).replace("postgresql+asyncpg://", "postgresql://", 1)
        try:
            connection = await asyncpg.connect(url, timeout=2)
        except (OSError, TimeoutError, asyncpg.PostgresError) as error:
            raise NotReady(f"PostgreSQL does not answer the {role}'s role: {error}") from error
        try:
            if not await connection.fetchval(SESSIONS, launched.since):
                raise NotReady(f"the {role} has no session on PostgreSQL yet")
        finally:
            await connection.close()

    return check
