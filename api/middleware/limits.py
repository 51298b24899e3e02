"""Limits of every request: body size, and rate limit of a principal. Pure ASGI middleware, so that streams work."""

from math import ceil

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.access import authenticate
from api.deps import State
from api.middleware.problems import respond_to
from capsules.errors import RateLimited, SomaError, TooLarge
from capsules.identity.principal import Principal


class BodyLimit:
    """ASGI middleware that reads the whole body first. It answers 413 when the body has more than `largest` bytes."""

    def __init__(self, app: ASGIApp, *, largest: int) -> None:
        self._app = app
        self._largest = largest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "")
        body = None if announced.isdecimal() and int(announced) > self._largest else await self._read(receive)
        if body is None:
            error = TooLarge(f"The body is larger than {self._largest} bytes. Send less.", limit=self._largest)
            await respond_to(error)(scope, receive, send)
            return
        sent = False

        async def replay() -> Message:
            nonlocal sent
            if sent:
                return await receive()  # the next message is the disconnect
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replay, send)

    async def _read(self, receive: Receive) -> bytes | None:
        body = bytearray()
        while True:
            message = await receive()
            body += message.get("body", b"")
            if len(body) > self._largest:
                return None
            if not message.get("more_body", False):
                return bytes(body)


class RequestRateLimit:
    """ASGI middleware that authenticates the caller once and counts the request for the principal, else the address."""

    def __init__(self, app: ASGIApp, *, state: State) -> None:
        self._app = app
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        caller = scope["somagent.caller"] = await self._caller(scope)
        seconds = await self._state.rates.wait_seconds(_key(caller, scope))
        if self._state.rates.degraded:
            self._state.metrics.rates_degraded.inc()
        if seconds:
            self._state.metrics.rate_limited.inc()
            await respond_to(self._refusal(ceil(seconds)))(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _caller(self, scope: Scope) -> Principal | SomaError | None:
        try:
            found = await authenticate(self._state, scope)
        except SomaError as error:
            return error  # raised by an endpoint that requires a caller
        if found is None:
            return None
        scope["somagent.credential"] = found.credential
        return found.principal

    def _refusal(self, seconds: int) -> RateLimited:
        limit = self._state.settings.rate_limit_per_minute
        return RateLimited(
            f"More than {limit} requests in a minute; try again in {seconds} seconds.", retry_after=seconds
        )


def _key(caller: Principal | SomaError | None, scope: Scope) -> str:
    if isinstance(caller, Principal):
        return f"principal:{caller.tenant}:{caller.subject}"
    client = scope.get("client")
    return f"address:{client[0] if client else 'unknown'}"
