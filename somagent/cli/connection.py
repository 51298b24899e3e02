"""The CLI's one way to the API: JSON out and in, and every failure as a sentence and an exit code."""

import json
from types import TracebackType
from typing import Any, NoReturn, Self

import httpx

from somagent.capsule_files.document import is_json
from somagent.cli import output
from somagent.cli.exit_codes import BY_STATUS, Code
from somagent.settings import Settings

TIMEOUT = httpx.Timeout(60, connect=5)


class Api:
    """A connection for one command. `json` says how failures are told."""

    def __init__(self, *, principal: str | None = None, json: bool = False) -> None:
        settings = Settings()
        self.base = settings.api_base()
        self.headers = {"Authorization": f"Bearer {token_of(settings, principal)}"}
        self.json = json
        self._client = httpx.Client(base_url=self.base, headers=self.headers, timeout=TIMEOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def get(self, path: str, **query: str | int | list[str] | None) -> Any:  # noqa: ANN401 - any JSON value
        return self._call("GET", path, params={k: v for k, v in query.items() if v is not None})

    def post(self, path: str, body: Any = None, *, key: str | None = None) -> Any:  # noqa: ANN401 - any JSON value
        headers = {"Idempotency-Key": key} if key else {}
        return self._call("POST", path, json=body if body is not None else {}, headers=headers)

    def put(self, path: str, body: Any) -> Any:  # noqa: ANN401 - any JSON value
        return self._call("PUT", path, json=body)

    def send_file(self, path: str, text: str, *, filename: str) -> Any:  # noqa: ANN401 - any JSON value
        kind = "application/json" if is_json(text, filename) else "application/yaml"
        return self._call("POST", path, content=text.encode(), headers={"Content-Type": kind})

    def delete(self, path: str) -> Any:  # noqa: ANN401 - any JSON value, None where nothing is answered
        return self._call("DELETE", path)

    def all(self, path: str, *, most: int, **query: str | int | None) -> list[dict[str, Any]]:
        """Return the items of a list, page after page, at most `most`."""
        items: list[dict[str, Any]] = []
        cursor: str | None = None
        while len(items) < most:
            page = self.get(path, cursor=cursor, limit=min(500, most - len(items)), **query)
            items += page["items"]
            cursor = page.get("next")
            if not cursor:
                break
        return items[:most]

    def fetch(self, path: str, **query: str | int | list[str] | None) -> bytes:
        """Return what is not JSON: a page, an archive."""
        return self._answer("GET", path, params={k: v for k, v in query.items() if v is not None}).content

    def _call(self, method: str, path: str, **options: Any) -> Any:  # noqa: ANN401 - httpx's own options
        response = self._answer(method, path, **options)
        return response.json() if response.content else None

    def _answer(self, method: str, path: str, **options: Any) -> httpx.Response:  # noqa: ANN401 - as above
        try:
            response = self._client.request(method, path, **options)
        except httpx.TransportError as error:
            self.unreachable(error)
        if response.is_error:
            self.refuse(response)
        return response

    def unreachable(self, error: Exception) -> NoReturn:
        """End the command: nobody answers."""
        message = f"The API at {self.base} cannot be reached ({type(error).__name__}). Is the stack up? somagent up"
        self._fail({"code": "Unavailable", "detail": message}, message, Code.UNAVAILABLE)

    def refuse(self, response: httpx.Response) -> NoReturn:
        """End the command with what a problem document says."""
        problem = _problem(response)
        code = BY_STATUS.get(response.status_code, Code.RUN_FAILED)
        self._fail(problem, sentences(problem), code)

    def _fail(self, problem: dict[str, Any], text: str, code: Code) -> NoReturn:
        if self.json:
            output.emit({"problem": problem})
        output.fail(text, code=code)


def sentences(problem: dict[str, Any]) -> str:
    """Return a problem document as text: the sentence, then a line for each problem with its place."""
    lines = [str(problem.get("detail") or problem.get("title") or "The API refused without saying why.")]
    for one in problem.get("problems", ()):
        place = f"{one['line']}:{one['column']} " if one.get("line") else ""
        expected = f" Expected: {str(one['expected']).rstrip('.')}." if one.get("expected") else ""
        path = f"{one['path']}: " if one.get("path") else ""
        message = str(one.get("message", "")).rstrip(".")
        lines.append(f"  {place}{path}{message}.{expected}")
    return "\n".join(lines)


def _problem(response: httpx.Response) -> dict[str, Any]:
    try:
        found = response.json()
    except ValueError:
        found = None
    if isinstance(found, dict) and "detail" in found:
        return found
    return {
        "code": "Unexpected",
        "detail": f"{response.request.url} answered {response.status_code}: no problem document.",
    }


def run_path(run: str, *more: str) -> str:
    """Return the URL path of a run: its id with `~` for each `/`."""
    return "/".join(["/v1/runs", run.replace("/", "~"), *more])


DEFAULT = "operator"


def token_of(settings: Settings, principal: str | None) -> str:
    """Return the token; end the command with a sentence when there is none."""
    if settings.token is not None:
        return settings.token.get_secret_value()
    name = principal or DEFAULT
    path = settings.credentials_file
    try:
        known = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        output.fail(
            f"There is no token: SOMAGENT_TOKEN is not set and {str(path)!r} does not exist. "
            "Set it, or start the local stack: somagent up",
            code=Code.DENIED,
        )
    except (OSError, ValueError) as error:
        output.fail(f"The credentials in {str(path)!r} cannot be read: {error}", code=Code.DENIED)
    entry = known.get(name) if isinstance(known, dict) else None
    if not isinstance(entry, dict) or not isinstance(entry.get("token"), str):
        names = ", ".join(sorted(known)) if isinstance(known, dict) else "none"
        output.fail(f"There is no principal {name!r} in {str(path)!r}. Known: {names}.", code=Code.DENIED)
    return str(entry["token"])
