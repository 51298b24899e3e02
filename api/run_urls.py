"""Run URLs: the path parameter `{run}`, whose form is in `capsules.runs.url`, and the check of the run's tenant."""

from typing import Annotated
from urllib.parse import unquote

from fastapi import Depends, Path
from starlette.types import ASGIApp, Receive, Scope, Send

from capsules.errors import NotFound
from capsules.identity.principal import Principal
from capsules.runs.url import run_id

HANDLE = r"^[a-z0-9][a-z0-9-]{0,62}~[a-z][a-z0-9-]{0,62}(~[A-Za-z0-9][A-Za-z0-9._:-]{0,99})+$"


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
    return run_id(run)


RunPath = Annotated[str, Depends(_run_id)]
"""A path parameter `{run}`, as the run's id."""


def require_own(run: str, caller: Principal) -> str:
    """Return the id. Raises NotFound for a run of another tenant."""
    if not run.startswith(f"{caller.tenant}/"):
        raise NotFound(f"There is no run {run!r}.", run=run)
    return run


class EncodedSlashes:
    """ASGI middleware that reads `%2F` in a path as `~`, for clients that escape a run's id.

    A server unescapes the path before it routes it. Without this, a slash of the id would look like one of the URL.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw: bytes = scope.get("raw_path") or b""
        if b"%2f" in raw.lower():
            escaped = raw.decode("ascii", "replace").replace("%2F", "~").replace("%2f", "~")
            scope = {**scope, "path": unquote(escaped.partition("?")[0])}
        await self._app(scope, receive, send)
