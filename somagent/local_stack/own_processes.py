"""Our own processes: bootstrap (migrations, keys, principals), workers by queue, outbox relay, sealer, API.

They are started by name, as on a cluster; this package imports none of them.
"""

import sys

from somagent.local_stack.environment import ours
from somagent.local_stack.health import answers_http, has_session, polls
from somagent.local_stack.part import Listening, Part
from somagent.settings import Settings

QUEUES = ("capsules", "slm", "memory", "platform")
TOOL_QUEUES = ("tools",)  # the only worker near Docker runs in a process of its own


def bootstrap(settings: Settings) -> Part:
    return Part(
        name="bootstrap",
        command=_module("workers.bootstrap"),
        env=ours(settings),
        depends_on=("postgres",),
        once=True,
    )


def worker(settings: Settings) -> Part:
    return _worker(settings, name="worker", queues=QUEUES, metrics=settings.worker_metrics_port)


def tools(settings: Settings) -> Part:
    return _worker(settings, name="tools", queues=TOOL_QUEUES, metrics=settings.tools_metrics_port)


def relay(settings: Settings) -> Part:
    return Part(
        name="relay",
        command=_module("workers.relay"),
        env=ours(settings),
        depends_on=("bootstrap", "valkey"),
        health=has_session(settings, "relay"),
    )


def sealer(settings: Settings) -> Part:
    return Part(
        name="sealer",
        command=_module("workers.sealer"),
        env=ours(settings),
        depends_on=("bootstrap",),
        health=has_session(settings, "sealer"),
    )


def api(settings: Settings) -> Part:
    base = f"http://{settings.host}:{settings.api_port}"
    return Part(
        name="api",
        command=_module("api.main"),
        env=ours(settings),
        depends_on=("bootstrap", "temporal", "valkey"),
        health=answers_http(f"{base}/v1/health"),
        listens=(Listening(setting="SOMAGENT_API_PORT", port=settings.api_port),),
        address=base,
    )


def _worker(settings: Settings, *, name: str, queues: tuple[str, ...], metrics: int | None) -> Part:
    counted = ("--metrics-port", str(metrics)) if metrics else ()
    return Part(
        name=name,
        command=(*_module("workers.main"), "--queues", ",".join(queues), *counted),
        env=ours(settings),
        depends_on=("bootstrap", "temporal", "valkey", *(("slm",) if "slm" in queues else ())),
        health=polls(settings.temporal_target(), settings.temporal_namespace, queues),
        address=f"queues {', '.join(queues)}",
        stop_seconds=15,  # activities under way are told to stop and end their containers
    )


def _module(name: str) -> tuple[str, ...]:
    # -P: the working directory is the stack's home and must not be on the import path.
    return (sys.executable, "-P", "-m", name)
