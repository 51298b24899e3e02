"""Credentials of the CLI: the token of a principal, and its silent renewal by the refresh token beside it.

A refresh token counts once. So commands that run at the same time renew under a lock, and read the file again in it.
"""

import fcntl
import json
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from capsules.errors import Unauthenticated, Unavailable
from somagent.cli import output
from somagent.cli.exit_codes import Code
from somagent.identity.files import write_private_json
from somagent.settings import Settings

DEFAULT_PRINCIPAL = "operator"
RENEW_SECONDS = 60
"""A token with less time left is renewed before it is sent."""
REFRESH = "/v1/tokens/refresh"


class PrincipalToken(httpx.Auth):
    """Sends the token of a principal with each request, and renews it when its time is nearly over."""

    def __init__(self, settings: Settings, principal: str | None) -> None:
        self._settings = settings
        self._principal = principal or DEFAULT_PRINCIPAL
        self._entry: dict[str, Any] = {}

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self.token()}"
        response = yield request
        if response.status_code == httpx.codes.UNAUTHORIZED and self._reload():
            request.headers["Authorization"] = f"Bearer {self.token()}"
            yield request

    def token(self) -> str:
        """Return a token that is valid now. Ends the command when there is none.

        Raises Unauthenticated when the API refuses to renew it.
        """
        if self._settings.token is not None:
            return self._settings.token.get_secret_value()
        if not self._entry:
            self._entry = read_entry(self._settings, self._principal)
        if self._is_old():
            with _locked(self._settings):
                self._entry = read_entry(self._settings, self._principal)
                if self._is_old():
                    self._renew()
        return str(self._entry["token"])

    def _is_old(self) -> bool:
        # Without a time, or without a refresh token, it is used as it is.
        left: float = self._entry.get("expires_at", 2**53) - time.time()
        return left < RENEW_SECONDS and "refresh_token" in self._entry

    def _reload(self) -> bool:
        """Read the file again. Return whether it has another token: the stack may have started again meanwhile."""
        if self._settings.token is not None:
            return False
        before = self._entry.get("token")
        self._entry = read_entry(self._settings, self._principal)
        return bool(self._entry["token"] != before)

    def _renew(self) -> None:
        body = {"refresh_token": self._entry["refresh_token"]}
        response = httpx.post(self._settings.api_base() + REFRESH, json=body, timeout=30)
        if response.status_code == httpx.codes.UNAUTHORIZED:
            reason = response.json().get("detail", "")
            raise Unauthenticated(f"{reason} On the machine of the local stack: somagent up")
        if response.is_error:
            raise Unavailable(f"The token cannot be renewed now: the API answered {response.status_code}.")
        renewed = response.json()
        self._entry = self._entry | {name: renewed[name] for name in ("token", "expires_at", "refresh_token")}
        write_private_json(self._settings.credentials_file, _read_file(self._settings) | {self._principal: self._entry})


def read_entry(settings: Settings, name: str) -> dict[str, Any]:
    """Return a principal's entry of the credentials file. Ends the command with a sentence when there is none."""
    credentials = _read_file(settings)
    entry = credentials.get(name) if isinstance(credentials, dict) else None
    if not isinstance(entry, dict) or not isinstance(entry.get("token"), str):
        names = ", ".join(sorted(credentials)) if isinstance(credentials, dict) else "none"
        path = str(settings.credentials_file)
        output.fail(f"There is no principal {name!r} in {path!r}. Known: {names}.", code=Code.DENIED)
    return entry


def _read_file(settings: Settings) -> Any:  # noqa: ANN401 - any JSON value
    path = settings.credentials_file
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        output.fail(
            f"There is no token: SOMAGENT_TOKEN is not set and {str(path.absolute())!r} does not exist. Set it, or "
            "start the local stack: somagent up. If one was started elsewhere, set SOMAGENT_HOME to its directory.",
            code=Code.DENIED,
        )
    except (OSError, ValueError) as error:
        output.fail(f"The credentials in {str(path)!r} cannot be read: {error}", code=Code.DENIED)


@contextmanager
def _locked(settings: Settings) -> Iterator[None]:
    """Hold the lock of the credentials file: one process renews at a time."""
    path = settings.credentials_file.with_suffix(".lock")
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
