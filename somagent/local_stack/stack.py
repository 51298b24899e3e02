"""Parts of the local stack: servers from wheels, and the product's own processes, unless a setting replaces them.

The product's processes are started by module name, as on a cluster. This package imports none of them.
"""

import sys
from collections.abc import Callable, Iterable
from typing import Any

from somagent.identity.ui_secret import keep_secret, new_secret
from somagent.local_stack.environment import product_environment, server_environment
from somagent.local_stack.errors import StackError
from somagent.local_stack.health import answers_http, answers_ping, has_session, polls, serves_namespace
from somagent.local_stack.part import ListenPort, Part
from somagent.local_stack.postgres import postgres
from somagent.local_stack.wheels import language_model, temporal_program, valkey_server
from somagent.settings import Settings

QUEUES = ("capsules", "slm", "memory", "platform")
TOOL_QUEUES = ("tools",)  # a separate process, the only worker that uses Docker

SEARCH_ATTRIBUTES = {
    "TenantId": "Keyword",
    "CapsuleName": "Keyword",
    "CapsuleVersion": "Keyword",
    "PersonaName": "Keyword",
    "RunState": "Keyword",
    "BudgetState": "Keyword",
    "ConstitutionDigest": "Keyword",
    "ParentRun": "Keyword",
    "AwaitingApproval": "Bool",
}

# The default of 20 polls a second adds 50 ms to every activity: five in sequence took 300 ms and now take 74 ms.
DYNAMIC_CONFIG = ("history.transferProcessorMaxPollRPS=1000",)

# WAL with NORMAL loses nothing when the process is killed, and is several times faster than a sync for each commit.
PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL")


def valkey(settings: Settings) -> Part:
    """Return Valkey, for data that may be lost: token streams and rate windows. It writes no file."""
    data, url = settings.home.absolute() / "data" / "valkey", f"redis://{settings.host}:{settings.valkey_port}/0"
    return Part(
        name="valkey",
        command=(
            str(valkey_server()),
            *("--bind", settings.host, "--port", str(settings.valkey_port), "--protected-mode", "yes"),
            *("--save", "", "--appendonly", "no", "--dir", str(data)),
            *("--maxmemory", "256mb", "--maxmemory-policy", "allkeys-lru"),
        ),
        env=server_environment(),
        health=answers_ping(url),
        listens=(ListenPort(setting="SOMAGENT_VALKEY_PORT", port=settings.valkey_port),),
        address=url,
        data=data,
        stop_seconds=5,
    )


def temporal(settings: Settings) -> Part:
    """Return Temporal's development server: the real server and UI in one process, its state in one SQLite file."""
    home = settings.home.absolute()
    target, data, secret = f"{settings.host}:{settings.temporal_port}", home / "data" / "temporal", new_secret()

    async def prepare() -> None:
        keep_secret(home, secret)

    return Part(
        name="temporal",
        command=(
            *(str(temporal_program()), "server", "start-dev", "--log-level", "warn"),
            *("--ip", settings.host, "--port", str(settings.temporal_port)),
            *("--ui-port", str(settings.temporal_ui_port)),
            *("--ui-codec-endpoint", f"{settings.api_base()}/v1/codec/ui/{secret}"),
            *("--db-filename", str(data / "temporal.sqlite"), "--namespace", settings.temporal_namespace),
            "--ui-disable-news-fetch",
            *_repeat_option("--sqlite-pragma", PRAGMAS),
            *_repeat_option("--dynamic-config-value", (*DYNAMIC_CONFIG, *settings.temporal_dynamic_config)),
            *_repeat_option("--search-attribute", (f"{name}={kind}" for name, kind in SEARCH_ATTRIBUTES.items())),
        ),
        env=server_environment(HOME=str(data)),
        health=serves_namespace(target, settings.temporal_namespace),
        listens=(
            ListenPort(setting="SOMAGENT_TEMPORAL_PORT", port=settings.temporal_port),
            ListenPort(setting="SOMAGENT_TEMPORAL_UI_PORT", port=settings.temporal_ui_port),
        ),
        address=f"{target}  UI http://{settings.host}:{settings.temporal_ui_port}",
        data=data,
        prepare=prepare,
    )


def slm(settings: Settings) -> Part:
    """Return the small language model: llama.cpp's server, which answers two requests at once."""
    base = f"http://{settings.host}:{settings.slm_port}"
    return Part(
        name="slm",
        command=(
            *_python_module("somagent.local_stack.llama_server"),
            *("--model", str(language_model()), "--alias", settings.slm_model),
            *("--host", settings.host, "--port", str(settings.slm_port)),
            *("--parallel", "2", "--context", "8192"),  # tokens for all requests together
        ),
        env=server_environment(),
        health=answers_http(f"{base}/health"),
        listens=(ListenPort(setting="SOMAGENT_SLM_PORT", port=settings.slm_port),),
        address=f"{base}/v1",
        stop_seconds=5,
    )


def bootstrap(settings: Settings) -> Part:
    return _own(settings, "bootstrap", "workers.bootstrap", depends_on=("postgres",), once=True)


def worker(settings: Settings) -> Part:
    return _worker(settings, "worker", QUEUES, settings.worker_metrics_port, needs=("slm",))


def tools(settings: Settings) -> Part:
    return _worker(settings, "tools", TOOL_QUEUES, settings.tools_metrics_port)


def relay(settings: Settings) -> Part:
    return _own(
        settings, "relay", "workers.relay", depends_on=("bootstrap", "valkey"), health=has_session(settings, "relay")
    )


def sealer(settings: Settings) -> Part:
    return _own(settings, "sealer", "workers.sealer", depends_on=("bootstrap",), health=has_session(settings, "sealer"))


def api(settings: Settings) -> Part:
    base = f"http://{settings.host}:{settings.api_port}"
    return _own(
        settings,
        "api",
        "api.main",
        depends_on=("bootstrap", "temporal", "valkey"),
        health=answers_http(f"{base}/v1/health"),
        listens=(ListenPort(setting="SOMAGENT_API_PORT", port=settings.api_port),),
        address=base,
    )


def _worker(
    settings: Settings, name: str, queues: tuple[str, ...], metrics: int | None, needs: tuple[str, ...] = ()
) -> Part:
    port = ("--metrics-port", str(metrics)) if metrics else ()
    return _own(
        settings,
        name,
        "workers.main",
        *("--queues", ",".join(queues), *port),
        depends_on=("bootstrap", "temporal", "valkey", *needs),
        health=polls(settings.temporal_target(), settings.temporal_namespace, queues),
        address=f"queues {', '.join(queues)}",
        stop_seconds=15,  # running activities are told to stop and end their containers
    )


def _own(settings: Settings, name: str, module: str, *arguments: str, **options: Any) -> Part:  # noqa: ANN401 - fields of Part
    """Return the part of a process of the product: a module that reads all settings from its environment."""
    command = (*_python_module(module), *arguments)
    return Part(name=name, command=command, env=product_environment(settings), **options)


def _python_module(name: str) -> tuple[str, ...]:
    # -P keeps the working directory, which is the stack's home, off the import path.
    return (sys.executable, "-P", "-m", name)


def _repeat_option(option: str, values: Iterable[str]) -> tuple[str, ...]:
    return tuple(word for value in values for word in (option, value))


PARTS: tuple[Callable[[Settings], Part], ...] = (
    *(postgres, valkey, temporal, slm),
    *(bootstrap, worker, tools, relay, sealer, api),
)
NAMES = tuple(make.__name__ for make in PARTS)


def parts(settings: Settings, *, only: Iterable[str] = ()) -> tuple[Part, ...]:
    """Return the parts to start: all, or those in `only` with their dependencies. Replaced parts are left out.

    Raises StackError for an unknown name, MissingProgram where a wheel is not installed.
    """
    replaced = replaced_parts(settings)
    wanted = tuple(only)
    unknown = [name for name in wanted if name not in NAMES]
    if unknown:
        raise StackError(f"There is no part {', '.join(map(repr, unknown))}. Known: {', '.join(NAMES)}.")
    if not wanted:
        return tuple(make(settings) for make in PARTS if make.__name__ not in replaced)
    needed: dict[str, Part] = {}
    makers = {make.__name__: make for make in PARTS}
    waiting = [name for name in wanted if name not in replaced]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed[name] = makers[name](settings)
            waiting.extend(other for other in needed[name].depends_on if other not in replaced)
    return tuple(needed[name] for name in NAMES if name in needed)


def replaced_parts(settings: Settings) -> dict[str, str]:
    """Return the names of parts that are replaced, each with the setting that replaces it."""
    given = {
        "postgres": ("SOMAGENT_DATABASE_URL", settings.database_url),
        "valkey": ("SOMAGENT_REDIS_URL", settings.redis_url),
        "temporal": ("SOMAGENT_TEMPORAL_ADDRESS", settings.temporal_address),
        "slm": ("SOMAGENT_SLM_URL", settings.slm_url),
    }
    return {part: setting for part, (setting, value) in given.items() if value is not None}
