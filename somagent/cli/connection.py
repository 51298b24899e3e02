"""API client of the CLI: requests and answers in JSON. A failure ends the command with a sentence and an exit code."""

from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from typing import Any, NoReturn

import httpx

from capsules.errors import ConstitutionRefused, SomaError
from somagent.capsule_files.document import is_json
from somagent.cli import output
from somagent.cli.credentials import PrincipalToken
from somagent.cli.exit_codes import BY_STATUS, Code
from somagent.settings import Settings

TIMEOUT = httpx.Timeout(60, connect=5)

JsonValue = Any
"""Any JSON value; None where the API answers with an empty body."""


class Api:
    """Context of one command: the format of its output, and a connection that opens at the first request."""

    def __init__(self, *, principal: str | None = None, json: bool = False) -> None:
        self.settings = Settings()
        self.base = self.settings.api_base()
        self.json = json
        self._principal = principal

    @cached_property
    def auth(self) -> PrincipalToken:
        """The token of each request."""
        return PrincipalToken(self.settings, self._principal)

    @cached_property
    def _client(self) -> httpx.Client:
        return httpx.Client(base_url=self.base, auth=self.auth, timeout=TIMEOUT)

    def close(self) -> None:
        if "_client" in self.__dict__:
            self._client.close()

    def show(self, result: output.JsonData, text: output.TextFunction | None) -> None:
        """Write the result of the command: as JSON, or as the lines of `text`."""
        if self.json or text is None:
            output.emit(result)
        else:
            output.show(text(result))

    def get(self, path: str, **query: str | int | list[str] | None) -> JsonValue:
        return _body(self._request("GET", path, params=_without_unset(query)))

    def post(self, path: str, body: dict[str, Any] | None = None, *, key: str | None = None) -> JsonValue:
        """Return the answer to a POST. Fields of the body that are None are left out: the API has its defaults."""
        headers = {"Idempotency-Key": key} if key else {}
        return _body(self._request("POST", path, json=_without_unset(body or {}), headers=headers))

    def put(self, path: str, body: JsonValue) -> JsonValue:
        return _body(self._request("PUT", path, json=body))

    def delete(self, path: str) -> JsonValue:
        return _body(self._request("DELETE", path))

    def send_file(self, path: str, text: str, *, filename: str) -> JsonValue:
        kind = "application/json" if is_json(text, filename) else "application/yaml"
        return _body(self._request("POST", path, content=text.encode(), headers={"Content-Type": kind}))

    def fetch(self, path: str, **query: str | int | list[str] | None) -> bytes:
        """Return a body that is not JSON: a page, an archive."""
        return self._request("GET", path, params=_without_unset(query)).content

    def list_items(self, path: str, *, most: int, **query: str | int | None) -> list[dict[str, Any]]:
        """Return at most `most` items of a list, page after page. The state `all` means every state."""
        query |= {"state": None} if query.get("state") == "all" else {}
        items: list[dict[str, Any]] = []
        cursor: str | None = None
        while len(items) < most:
            page = self.get(path, cursor=cursor, limit=min(500, most - len(items)), **query)
            items += page["items"]
            cursor = page.get("next")
            if not cursor:
                break
        return items[:most]

    def iter_numbered(self, path: str, *, most: int | None = None, size: int = 500) -> Iterator[Any]:
        """Yield the items of a list whose pages start after an item's number, `size` a page, up to number `most`."""
        after: int | None = 0
        while after is not None and (most is None or after < most):
            page = self.get(path, after=after, limit=size if most is None else min(size, most - after))
            yield from page["items"]
            after = page["next"]

    def iter_by_id(self, path: str, *, size: int = 500, **query: int) -> Iterator[Any]:
        """Yield the items of a list whose pages start after an item's id."""
        page: list[dict[str, Any]] = self.get(path, limit=size, **query)
        while page:
            yield from page
            page = self.get(path, after=page[-1]["id"], limit=size, **query) if len(page) == size else []

    def end_with_error(self, error: SomaError) -> NoReturn:
        """End the command with an error that was found on this machine, as if the API had answered with it."""
        problem = {"code": error.code, "detail": error.message, "problems": list(error.fields.get("problems", ()))}
        # Refused on this machine, a constitution is an invalid file; refused by the API, it is a denial.
        invalid_file = isinstance(error, ConstitutionRefused)
        self._fail(problem, Code.INVALID if invalid_file else BY_STATUS.get(error.status, Code.RUN_FAILED))

    def end_with_response(self, response: httpx.Response) -> NoReturn:
        """End the command with the problem document of a response."""
        self._fail(_problem(response), BY_STATUS.get(response.status_code, Code.RUN_FAILED))

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:  # noqa: ANN401 - httpx's own options
        try:
            response = self._client.request(method, path, **options)
        except httpx.TransportError as error:
            kind = type(error).__name__
            message = f"The API at {self.base} cannot be reached ({kind}). Is the stack up? somagent up"
            self._fail({"code": "Unavailable", "detail": message}, Code.UNAVAILABLE)
        if response.is_error:
            self.end_with_response(response)
        return response

    def _fail(self, problem: dict[str, Any], code: Code) -> NoReturn:
        if self.json:
            output.emit({"problem": problem})
        output.fail(format_problem(problem), code=code)


def format_problem(problem: dict[str, Any]) -> str:
    """Return a problem document as text: its sentence, then a line for each problem with line, column and path."""
    lines = [str(problem.get("detail") or problem.get("title") or "The API refused without saying why.")]
    for one in problem.get("problems", ()):
        place = f"{one['line']}:{one['column']} " if one.get("line") else ""
        expected = f" Expected: {str(one['expected']).rstrip('.')}." if one.get("expected") else ""
        path = f"{one['path']}: " if one.get("path") else ""
        message = str(one.get("message", "")).rstrip(".")
        lines.append(f"  {place}{path}{message}.{expected}")
    return "\n".join(lines)


def _without_unset(query: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in query.items() if value is not None}


def _body(response: httpx.Response) -> JsonValue:
    return response.json() if response.content else None


def _problem(response: httpx.Response) -> dict[str, Any]:
    """Return the problem document of a response, or one that says that there is none."""
    with suppress(ValueError):
        body = response.json()
        if isinstance(body, dict) and "detail" in body:
            return body
    detail = f"{response.request.url} answered {response.status_code}: no problem document."
    return {"code": "Unexpected", "detail": detail}
