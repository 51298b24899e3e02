"""JSON bodies that can be stored: values that the database or a digest cannot hold are refused while reading.

PostgreSQL holds no NUL character, UTF-8 no lone surrogate, canonical JSON no integer beyond 2**53 and no NaN.
"""

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from capsules.digest import canonical


class StorableJsonRequest(Request):
    """A request whose JSON is checked while it is read."""

    async def json(self) -> Any:  # noqa: ANN401 - any JSON value
        text = await self.body()
        try:
            value = json.loads(text)
            canonical(value)
        except json.JSONDecodeError:
            raise
        except RecursionError as error:
            raise _refused("is nested too deeply") from error
        except ValueError as error:
            raise _refused(f"cannot be kept as JSON: {error}") from error
        if b"\\u0000" in text and _holds_nul(value):
            raise _refused("holds a NUL character, which cannot be stored")
        return value


class StorableJsonRoute(APIRoute):
    """A route that reads its body as StorableJsonRequest."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def read(request: Request) -> Response:
            return await handle(StorableJsonRequest(request.scope, request.receive))

        return read


def _refused(reason: str) -> json.JSONDecodeError:
    # FastAPI turns this one error into a validation problem of the body; any other would become a plain 400.
    return json.JSONDecodeError(f"The body {reason}", "", 0)


def _holds_nul(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    if isinstance(value, str):
        return "\x00" in value
    if isinstance(value, dict):
        return any("\x00" in key or _holds_nul(item) for key, item in value.items())
    return isinstance(value, list) and any(_holds_nul(item) for item in value)
