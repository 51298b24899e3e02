"""Check of JSON bodies: a value that the database or a digest cannot contain is refused when the body is read.

PostgreSQL texts have no NUL character, UTF-8 has no lone surrogate, canonical JSON has no integer beyond 2**53, no NaN.
"""

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from capsules.digest import canonical


class StorableJsonRequest(Request):
    """A request that checks its JSON body."""

    async def json(self) -> Any:  # noqa: ANN401 - any JSON value
        text = await self.body()
        try:
            value = json.loads(text)
            canonical(value)
        except json.JSONDecodeError:
            raise
        except RecursionError as error:
            raise _invalid_body("is nested too deeply") from error
        except ValueError as error:
            raise _invalid_body(f"cannot be kept as JSON: {error}") from error
        if b"\\u0000" in text and _contains_nul(value):
            raise _invalid_body("contains a NUL character, which cannot be stored")
        return value


class StorableJsonRoute(APIRoute):
    """A route whose requests are StorableJsonRequests."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def read(request: Request) -> Response:
            return await handle(StorableJsonRequest(request.scope, request.receive))

        return read


def _invalid_body(reason: str) -> json.JSONDecodeError:
    # FastAPI turns this one error into a validation problem of the body; any other would become a plain 400.
    return json.JSONDecodeError(f"The body {reason}", "", 0)


def _contains_nul(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    if isinstance(value, str):
        return "\x00" in value
    if isinstance(value, dict):
        return any("\x00" in key or _contains_nul(item) for key, item in value.items())
    return isinstance(value, list) and any(_contains_nul(item) for item in value)
