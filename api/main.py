"""API process, `python -m api.main`: reads the settings, connects the adapters and serves until a signal."""

import asyncio

import uvicorn

from api.app import create_app
from api.deps import open_state
from somagent.settings import Settings
from somagent.telemetry import tracing

STOP_SECONDS = 5
"""Limit for open requests at a stop: event streams never end by themselves. Readers reconnect with Last-Event-ID."""
IDLE_SECONDS = 75
"""Longer than clients keep an idle connection, so that the server never closes one while a request is on its way."""


async def serve(settings: Settings) -> None:
    """Serve until a signal. Raises Unavailable when a server cannot be reached at the start."""
    async with open_state(settings) as state:
        config = uvicorn.Config(
            create_app(state),
            host=settings.host,
            port=settings.api_port,
            log_level=settings.log_level,
            timeout_graceful_shutdown=STOP_SECONDS,
            timeout_keep_alive=IDLE_SECONDS,
            proxy_headers=False,  # a header must not set the client address, which the codec checks
            server_header=False,
        )
        await uvicorn.Server(config).serve()


def main() -> None:
    settings = Settings()
    with tracing(settings, "api"):
        asyncio.run(serve(settings))


if __name__ == "__main__":
    main()
