"""Valkey, for what may be lost and rebuilt: token streams, rate windows, locks, caches. So it keeps nothing on disk."""

from pathlib import Path

from somagent.local_stack.environment import theirs
from somagent.local_stack.health import answers_ping
from somagent.local_stack.part import Listening, Part
from somagent.local_stack.wheels import valkey_server
from somagent.settings import Settings


def valkey(settings: Settings) -> Part:
    return Part(
        name="valkey",
        command=(
            str(valkey_server()),
            *("--bind", settings.host),
            *("--port", str(settings.valkey_port)),
            *("--protected-mode", "yes"),
            *("--save", ""),
            *("--appendonly", "no"),
            *("--maxmemory", "256mb"),
            *("--maxmemory-policy", "allkeys-lru"),
            *("--dir", str(_data(settings))),
        ),
        env=theirs(),
        health=answers_ping(f"redis://{settings.host}:{settings.valkey_port}/0"),
        listens=(Listening(setting="SOMAGENT_VALKEY_PORT", port=settings.valkey_port),),
        address=f"redis://{settings.host}:{settings.valkey_port}/0",
        prepare=lambda: _prepare(settings),
        stop_seconds=5,
    )


def _data(settings: Settings) -> Path:
    return settings.home.absolute() / "data" / "valkey"


async def _prepare(settings: Settings) -> None:
    _data(settings).mkdir(parents=True, exist_ok=True)
