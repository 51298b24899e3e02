"""How URLs name runs: the run's id with `~` for each `/`, so that it is one segment and never needs escaping.

`acme/hello/k1` is `/v1/runs/acme~hello~k1`; its child is `/v1/runs/acme~hello~k1~summarise`. The id stays what it is
everywhere else.
"""

from typing import Annotated
from urllib.parse import unquote

from fastapi import Depends, Path
from starlette.types import ASGIApp, Receive, Scope, Send

from capsules.errors import NotFound
from capsules.read_models import Principal

HANDLE = r"^[a-z0-9][a-z0-9-]{0,62}~[a-z][a-z0-9-]{0,62}(~[A-Za-z0-9][A-Za-z0-9._:-]{0,99})+$"
REFERENCE = r"^[a-z][a-z0-9]*(-[a-z0-9]+)*(@(\^?[0-9]{1,9}(\.[0-9]{1,9}){0,2}(-[0-9A-Za-z.-]{1,64})?|latest))?$"
"""How URLs and bodies name capsules."""
KEY = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$"
"""What an idempotency key and a schedule's name may hold: it becomes part of a run's id."""


def handle(run: str) -> str:
    return run.replace("/", "~")


def url(run: str) -> str:
    """Return the run's own URL, for Location headers."""
    return f"/v1/runs/{handle(run)}"


def _run_id(
    run: Annotated[
        str,
        Path(
            pattern=HANDLE,
            max_length=255,
            description="The run's id with `~` for each `/`.",
            examples=["acme~meeting-summary~k1"],
        ),
    ],
) -> str:
    return run.replace("~", "/")


RunPath = Annotated[str, Depends(_run_id)]
"""A path parameter `{run}`, as the run's id."""


def require_own(run: str, caller: Principal) -> str:
    """Return the id. Another tenant's run does not exist for this caller."""
    if not run.startswith(f"{caller.tenant}/"):
        raise NotFound(f"There is no run {run!r}.", run=run)
    return run


class EncodedSlashes:
    """ASGI middleware for clients that escape a run's id instead: `%2F` in a path is taken for `~`.

    Servers unescape the path before it is routed, and then a slash of the id could not be told from one of the URL.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw: bytes = scope.get("raw_path") or b""
        if b"%2f" in raw.lower():
            escaped = raw.decode("ascii", "replace").replace("%2F", "~").replace("%2f", "~")
            scope = {**scope, "path": unquote(escaped.partition("?")[0])}
        await self._app(scope, receive, send)
