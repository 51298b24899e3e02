"""Temporal's development server: the real server and UI in one process, its state in one SQLite file."""

from pathlib import Path

from somagent.local_stack.environment import theirs
from somagent.local_stack.health import serves_namespace
from somagent.local_stack.part import Listening, Part
from somagent.local_stack.wheels import temporal_program
from somagent.settings import Settings

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

# The default of 20 polls a second adds 50 ms to every activity: five in a row took 300 ms and take 74 ms.
DYNAMIC_CONFIG = ("history.transferProcessorMaxPollRPS=1000",)

# WAL with NORMAL loses nothing when the process is killed and is several times faster than a sync for each commit.
PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL")


def temporal(settings: Settings) -> Part:
    target = f"{settings.host}:{settings.temporal_port}"
    data = _data(settings)
    return Part(
        name="temporal",
        command=(
            str(temporal_program()),
            *("server", "start-dev"),
            *("--ip", settings.host),
            *("--port", str(settings.temporal_port)),
            *("--ui-port", str(settings.temporal_ui_port)),
            *("--db-filename", str(data / "temporal.sqlite")),
            *("--namespace", settings.temporal_namespace),
            *("--ui-codec-endpoint", f"{settings.api_base()}/v1/codec"),
            "--ui-disable-news-fetch",
            *("--log-level", "warn"),
            *(word for pragma in PRAGMAS for word in ("--sqlite-pragma", pragma)),
            *(
                word
                for value in (*DYNAMIC_CONFIG, *settings.temporal_dynamic_config)
                for word in ("--dynamic-config-value", value)
            ),
            *(word for name, kind in SEARCH_ATTRIBUTES.items() for word in ("--search-attribute", f"{name}={kind}")),
        ),
        env=theirs(HOME=str(data)),
        health=serves_namespace(target, settings.temporal_namespace),
        listens=(
            Listening(setting="SOMAGENT_TEMPORAL_PORT", port=settings.temporal_port),
            Listening(setting="SOMAGENT_TEMPORAL_UI_PORT", port=settings.temporal_ui_port),
        ),
        address=f"{target}  UI http://{settings.host}:{settings.temporal_ui_port}",
        prepare=lambda: _prepare(settings),
    )


def _data(settings: Settings) -> Path:
    return settings.home.absolute() / "data" / "temporal"


async def _prepare(settings: Settings) -> None:
    _data(settings).mkdir(parents=True, exist_ok=True)
