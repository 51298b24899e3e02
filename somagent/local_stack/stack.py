"""The parts of the local stack, in one list. A part that a setting replaces is not on it."""

from collections.abc import Callable, Iterable

from somagent.local_stack.errors import StackError
from somagent.local_stack.model_server import slm
from somagent.local_stack.own_processes import api, bootstrap, relay, sealer, tools, worker
from somagent.local_stack.part import Part
from somagent.local_stack.postgres import postgres
from somagent.local_stack.temporal import temporal
from somagent.local_stack.valkey import valkey
from somagent.settings import Settings

PARTS: tuple[Callable[[Settings], Part], ...] = (
    postgres,
    valkey,
    temporal,
    slm,
    bootstrap,
    worker,
    tools,
    relay,
    sealer,
    api,
)
NAMES = tuple(make.__name__ for make in PARTS)


def parts(settings: Settings, *, only: Iterable[str] = ()) -> tuple[Part, ...]:
    """Return the parts to start, or only the named ones and what they depend on."""
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
    """Return the parts that settings replace, with the setting that does."""
    given = {
        "postgres": ("SOMAGENT_DATABASE_URL", settings.database_url),
        "valkey": ("SOMAGENT_REDIS_URL", settings.redis_url),
        "temporal": ("SOMAGENT_TEMPORAL_ADDRESS", settings.temporal_address),
        "slm": ("SOMAGENT_SLM_URL", settings.slm_url),
    }
    return {part: setting for part, (setting, value) in given.items() if value is not None}
