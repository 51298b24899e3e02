"""Docker sandbox: the port `Sandbox` on a Docker engine. It runs a command once for a key, inside hard limits.

The container is named by the key and kept until it is discarded. After a crash of the worker the engine still
knows whether the command began and how it ended. A retry with the same key gets that result and starts no second run.
"""

import asyncio
import hashlib
import secrets
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from docker import APIClient

from capsules.errors import Conflict, EffectFailed, Unavailable
from capsules.tools.tool import ContainerResult, ContainerSpec, SeccompProfile
from sandbox import isolation, wire
from sandbox.engine import CALL_SECONDS, DEFAULT_HOST, Engine, EngineRefusal, read_log, start
from sandbox.supervisor import KEY_BYTES

ATTEMPTS = 60
START_SECONDS = 3  # a container that is not started by then was left by a worker that died
RETRY_SECONDS = 0.25
POLL_SECONDS = 0.5
MARK = "somagent"
SCOPE = "somagent.scope"
DEADLINE = "somagent.deadline"
FINGERPRINT = "somagent.spec"
REPORT_KEY = "somagent.report"
"""Label with the key of the report. Whoever reads labels has the engine; the program in the container has not."""


class DockerSandbox:
    """Containers on one engine.

    `runtime` is the engine's name of another runtime, such as `runsc` for gVisor. `profiles` names the seccomp profile
    of an image that needs another one than `script`. `scope` names the installation: several may share an engine, and
    none sees or removes another's containers. `at_once` containers run at a time.
    """

    def __init__(  # noqa: PLR0913 - the options of an engine
        self,
        *,
        image: str,
        host: str = DEFAULT_HOST,
        runtime: str | None = None,
        profiles: Mapping[str, SeccompProfile] | None = None,
        scope: str = "local",
        at_once: int = 4,
    ) -> None:
        self._engine = Engine(host, at_once=at_once)
        self.at_once = at_once
        self._slots = asyncio.Semaphore(at_once)
        self._scope = scope
        self._image = image
        self._runtime = runtime
        self._profiles = dict(profiles or {})

    async def ready(self) -> None:
        """Check that sandboxes can run. Raises Unavailable with what is missing."""
        info = await self._engine.call(APIClient.info)
        absent = [limit for limit in ("MemoryLimit", "PidsLimit", "CpuCfsQuota") if not info.get(limit)]
        if absent:
            raise Unavailable(f"The Docker engine cannot enforce {', '.join(absent)}: sandboxes do not run without it.")
        options = [option for option in info.get("SecurityOptions") or [] if option.startswith("name=seccomp")]
        if not options or any("unconfined" in option for option in options):
            raise Unavailable("The Docker engine filters no system calls (seccomp): sandboxes do not run without it.")
        if self._runtime is not None and self._runtime not in info.get("Runtimes", {}):
            known = ", ".join(sorted(info.get("Runtimes", {})))
            raise Unavailable(f"The Docker engine has no runtime {self._runtime!r}. Known: {known}.")
        try:
            await self._engine.call(lambda client: client.inspect_image(self._image))  # type: ignore[no-untyped-call]
        except EngineRefusal as error:
            raise _no_image(self._image) from error

    async def run(self, spec: ContainerSpec, *, key: str) -> ContainerResult:
        """Run the command, or follow the run that an earlier call with this key began. Cancelling stops the container.

        Raises Invalid, TooLarge or EffectFailed for input that does not fit, Conflict when the key was used for another
        command, and Unavailable when the engine cannot run it.
        """
        work = asyncio.create_task(self._obtain_result(wire.check_spec(spec), self.name(key)))
        try:
            await asyncio.wait({work})
        except BaseException:
            # A second cancellation must not leave the container behind: the task outlives the wait for it.
            await asyncio.shield(asyncio.create_task(self._abandon(work, key)))
            raise
        return work.result()

    async def discard(self, key: str) -> None:
        """Remove the container of `key`, running or not, if there is one."""
        await self._remove(self.name(key), force=True)

    def name(self, key: str) -> str:
        """Return the name of the container of a key."""
        return f"{MARK}-{hashlib.sha256(f'{self._scope}\n{key}'.encode()).hexdigest()[:40]}"

    async def reap(self, older_than_seconds: int) -> int:
        """Remove containers that ended that long ago, kill those past their deadline, and return how many."""
        labels: list[str] = [f"{MARK}=1", f"{SCOPE}={self._scope}"]
        listed = await self._engine.call(lambda client: client.containers(all=True, filters={"label": labels}))
        reaped = 0
        for container in listed:
            with suppress(EngineRefusal):  # removed meanwhile, or another worker acts on it
                reaped += await self._reap_one(container, time.time(), older_than_seconds)
        return reaped

    async def _reap_one(self, container: dict[str, Any], now: float, older_than_seconds: int) -> bool:
        identity, state = container["Id"], container["State"]
        if state == "running":
            if now < float(container["Labels"].get(DEADLINE, "0")):
                return False
            # Killed and not removed: a retry still finds how it ended.
            await self._engine.call(lambda client: client.kill(identity))
            return True
        to_result = float(container["Created"])
        if state != "created":
            to_result = _timestamp((await self._inspect(identity))["State"]["FinishedAt"])
        if now - to_result < older_than_seconds:
            return False
        await self._remove(identity, force=False)
        return True

    async def _obtain_result(self, spec: ContainerSpec, name: str) -> ContainerResult:
        """Create or follow the container until there is a result. Another worker may hold the key meanwhile."""
        framed = wire.frame(spec)
        fingerprint = wire.fingerprint(spec, framed)
        for _ in range(ATTEMPTS):
            async with self._slots:
                report_key = secrets.token_bytes(KEY_BYTES)
                identity = await _finish_before_cancellation(self._create(spec, name, fingerprint, report_key))
                result = (
                    await self._resume(spec, name, fingerprint)
                    if identity is None
                    else await self._start(spec, identity, report_key, framed)
                )
            if result is not None:
                return result
            await asyncio.sleep(RETRY_SECONDS)
        raise Unavailable(f"Container {name!r} is held by another worker. Try again later.")

    async def _create(self, spec: ContainerSpec, name: str, fingerprint: str, report_key: bytes) -> str | None:
        """Return the id of a new container, or None when the name exists."""
        deadline = time.time() + spec.limits.seconds + 2 * isolation.GRACE_SECONDS
        labels = {**spec.labels, MARK: "1", SCOPE: self._scope, DEADLINE: str(int(deadline))}
        labels |= {FINGERPRINT: fingerprint, REPORT_KEY: report_key.hex()}
        profile = self._profiles.get(spec.image, "script")
        body = isolation.container_config(spec, runtime=self._runtime, profile=profile, labels=labels)
        try:
            made = await self._engine.call(
                lambda client: client.create_container_from_config(body, name)  # type: ignore[no-untyped-call]
            )
            return str(made["Id"])
        except EngineRefusal as error:
            if error.answer == 409:
                return None
            if error.answer == 404:
                raise _no_image(spec.image) from error
            raise Unavailable(f"No container can be made from {spec.image!r}: {error.reason}") from error

    async def _start(
        self, spec: ContainerSpec, identity: str, report_key: bytes, framed: bytes
    ) -> ContainerResult | None:
        """Start a new container with its input; return its outcome, or None when it was removed before its start."""
        try:
            report = await self._follow(
                spec, identity, report_key, lambda client, report: start(client, identity, report_key + framed, report)
            )
        except EngineRefusal as error:
            await self._remove(identity, force=False)
            if error.answer in {404, 409}:  # removed, or being removed
                return None
            raise Unavailable(f"The container did not start: {error.reason}") from error
        if report.result is not None:
            return report.result
        result = await self._outcome_without_report(spec, identity, report)
        if result is None:
            said = report.supervisor_errors.decode(errors="replace").strip()[-500:]
            raise Unavailable(f"The sandbox ended before the command began. {said}")
        return result

    async def _resume(self, spec: ContainerSpec, name: str, fingerprint: str) -> ContainerResult | None:
        """Return the outcome of the existing container, or None when it never began and has been removed."""
        try:
            found = await self._inspect(name)
        except EngineRefusal:
            return None
        labels = found["Config"]["Labels"]
        if labels.get(FINGERPRINT) != fingerprint:
            raise Conflict(f"Container {name!r} was started for another command. A key names one command only.")
        identity, status = found["Id"], found["State"]["Status"]
        if status in {"created", "removing", "dead"}:
            # Never begun. Removing is refused when it has been started meanwhile; the next round finds it running.
            if time.time() - _timestamp(found["Created"]) > START_SECONDS:
                await self._remove(identity, force=False)
            return None
        report_key = bytes.fromhex(labels.get(REPORT_KEY, ""))
        try:
            report = await self._follow(
                spec, identity, report_key, lambda client, report: read_log(client, identity, report)
            )
        except EngineRefusal:
            return None
        return report.result or await self._outcome_without_report(spec, identity, report)

    async def _follow(
        self,
        spec: ContainerSpec,
        identity: str,
        report_key: bytes,
        read: Callable[[APIClient, wire.ContainerReport], None],
    ) -> wire.ContainerReport:
        """Read the report to its end. Kill the container when its supervisor does not end it in time.

        Raises EffectFailed when the report is not the supervisor's, and kills the container then too.

        The command's time begins with the report, since a busy engine may take long to start a container. The kill is
        repeated: the engine refuses it for a container that it has not started yet.
        """
        report = wire.ContainerReport(spec.limits.output_bytes, report_key)
        reading = asyncio.create_task(self._engine.call(lambda client: read(client, report)))
        due = time.monotonic() + CALL_SECONDS
        begun = False
        try:
            while not (await asyncio.wait({reading}, timeout=POLL_SECONDS))[0]:
                if report.begun and not begun:
                    begun, due = True, time.monotonic() + spec.limits.seconds + isolation.GRACE_SECONDS
                if time.monotonic() > due:
                    with suppress(EngineRefusal):
                        await self._engine.call(lambda client: client.kill(identity))
            await reading
        except EffectFailed:
            with suppress(EngineRefusal):  # it has ended
                await self._engine.call(lambda client: client.kill(identity))
            raise
        finally:
            reading.cancel()
        return report

    async def _outcome_without_report(
        self, spec: ContainerSpec, identity: str, report: wire.ContainerReport
    ) -> ContainerResult | None:
        """Return the outcome of a container that was killed from outside or for its memory. None: it never began.

        Raises EffectFailed for one that ended by itself without the end of its report.
        """
        await self._engine.call(lambda client: client.wait(identity, timeout=CALL_SECONDS, condition="not-running"))
        state = (await self._inspect(identity))["State"]
        if not report.begun:
            await self._remove(identity, force=False)
            return None
        if int(state["ExitCode"]) == 0:
            raise EffectFailed("The end of the sandbox's report is lost: how the program ended is not known.")
        seconds = _timestamp(state["FinishedAt"]) - _timestamp(state["StartedAt"])
        return report.to_result(
            exit_code=int(state["ExitCode"]),
            truncated=True,
            timed_out=not state["OOMKilled"] and seconds >= spec.limits.seconds,
            out_of_memory=bool(state["OOMKilled"]),
            duration_ms=int(seconds * 1000),
        )

    async def _inspect(self, identity: str) -> dict[str, Any]:
        return await self._engine.call(lambda client: client.inspect_container(identity))

    async def _abandon(self, work: asyncio.Task[ContainerResult], key: str) -> None:
        work.cancel()
        await asyncio.wait({work})
        await self.discard(key)

    async def _remove(self, identity: str, *, force: bool) -> None:
        try:
            await self._engine.call(lambda client: client.remove_container(identity, v=True, force=force))
        except EngineRefusal as error:
            # 404: gone; 409: being removed by another, or (without force) running after all.
            if error.answer not in {404, 409}:
                raise Unavailable(f"Container {identity!r} cannot be removed: {error.reason}") from error


async def _finish_before_cancellation[T](step: Coroutine[Any, Any, T]) -> T:
    """Finish the step before a cancellation takes effect: a container without a known id could not be removed."""
    task = asyncio.create_task(step)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


def _timestamp(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _no_image(image: str) -> Unavailable:
    return Unavailable(f"Image {image!r} is not on the Docker engine. Build it: python -m sandbox.image")
