"""Problem documents (RFC 9457): every failure has a sentence, the fields or ids it is about, and a stable code.

A SomaError has its HTTP status. Any other exception gives a 500 that shows only an id, to be searched in the log.
"""

import logging
import re
import uuid
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from api.authentication import CredentialMissing
from api.middleware.bodies import StorableJsonRoute
from api.middleware.policy_headers import headers_of
from capsules.constitutions.proof import Explanation
from capsules.errors import Denied, PolicyDenied, RateLimited, SomaError, Unauthenticated, Unavailable
from somagent.identity.dpop import ALGORITHMS

MEDIA_TYPE = "application/problem+json"
UNEXPECTED = "An unexpected error happened in the API. Search its log for the id {}."
log = logging.getLogger(__name__)


class Problem(BaseModel):
    """A problem document."""

    type: str = Field(description="`urn:somagent:problem:` and the code.")
    title: str
    status: int
    detail: str = Field(description="What happened and what to do, for people.")
    code: str = Field(description="Stable name of the error, for programs.")
    fields: dict[str, Any] = Field(default_factory=dict, description="Ids and values that `detail` is about.")
    problems: list[dict[str, Any]] = Field(
        default_factory=list, description="All errors of the request, each with its path."
    )
    id: str | None = Field(None, description="Only of an unexpected error: its id in the API's log.")


EXAMPLES: dict[int, tuple[str, str]] = {
    400: ("Malformed", "The body cannot be read."),
    401: ("Unauthenticated", "The token has expired: get a new one."),
    402: ("BudgetExhausted", "The account 'tenant:acme' has 120 tokens left; 4000 were requested."),
    403: ("Denied", "This needs the capability 'capsule:run'; 'alice' has: run:read."),
    404: ("NotFound", "There is no run 'acme/hello/k1'."),
    405: ("MethodNotAllowed", "Method Not Allowed"),
    409: ("Conflict", "The idempotency key 'k1' was used for another request."),
    413: ("TooLarge", "The body is larger than 1048576 bytes."),
    422: ("Invalid", "The inputs do not follow the capsule's schema."),
    429: ("RateLimited", "More than 1200 requests in a minute; try again in 3 seconds."),
    503: ("Unavailable", "Temporal cannot be reached."),
}


def document(
    status: int, code: str, detail: str, *, fields: dict[str, Any] | None = None, problem_id: str | None = None
) -> Problem:
    """Return the document. A field `problems` becomes the member of that name."""
    rest = dict(fields or {})
    problems = rest.pop("problems", [])
    return Problem(
        type=f"urn:somagent:problem:{code}",
        title=re.sub(r"(?<=[a-z])(?=[A-Z])", " ", code).capitalize(),
        status=status,
        detail=detail,
        code=code,
        fields=rest,
        problems=list(problems),
        id=problem_id,
    )


def respond(problem: Problem, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return the document as a response."""
    content = jsonable_encoder(problem, exclude_none=True)
    return JSONResponse(content, status_code=problem.status, media_type=MEDIA_TYPE, headers=headers)


def respond_to(error: SomaError) -> JSONResponse:
    """Return the response for an error, with the headers that belong to its kind."""
    headers: dict[str, str] = {}
    if isinstance(error, Unauthenticated):
        headers |= _challenge(error)
    elif isinstance(error, Denied) and (capability := error.fields.get("capability")):
        headers["WWW-Authenticate"] = f'Bearer error="insufficient_scope", scope="{_quotable(str(capability))}"'
    if isinstance(error, RateLimited | Unavailable):
        headers["Retry-After"] = str(error.fields.get("retry_after", 1))
    if isinstance(error, PolicyDenied) and "explanation" in error.fields:
        headers |= headers_of(Explanation.model_validate(error.fields["explanation"]).verdict)
    return respond(document(error.status, error.code, error.message, fields=error.fields), headers)


def _challenge(error: Unauthenticated) -> dict[str, str]:
    """Return the challenge for a request without a valid token (RFC 6750, RFC 9449)."""
    if isinstance(error, CredentialMissing):
        return {"WWW-Authenticate": "Bearer"}
    reason = f'error="{error.fields.get("error", "invalid_token")}", error_description="{_quotable(error.message)}"'
    if error.fields.get("scheme") != "DPoP":
        return {"WWW-Authenticate": f"Bearer {reason}"}
    nonce = {"DPoP-Nonce": error.fields["nonce"]} if "nonce" in error.fields else {}
    return {"WWW-Authenticate": f'DPoP algs="{" ".join(ALGORITHMS)}", {reason}'} | nonce


def _quotable(text: str) -> str:
    """Return a text with the characters that a quoted value of a challenge may have."""
    return "".join(sign if " " <= sign <= "~" and sign not in '"\\' else "'" for sign in text)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI declaration of these failures."""
    return {status: _declared(status) for status in statuses}


def resource_router(prefix: str, tag: str) -> APIRouter:
    """Return a router that checks JSON bodies and declares the failures of every endpoint that needs a token."""
    return APIRouter(
        prefix=prefix, tags=[tag], route_class=StorableJsonRoute, responses=responses(401, 403, 413, 422, 429, 503)
    )


def install(app: FastAPI) -> None:
    """Answer every exception with a problem document."""
    app.add_exception_handler(SomaError, _on_soma_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(Exception, _on_unexpected)


async def _on_soma_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, SomaError)
    return respond_to(error)


async def _on_invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    if missing := _impossible_id(error.errors()):
        return respond(document(404, "NotFound", missing))
    problems = validation_problems(error.errors())
    named = ", ".join(dict.fromkeys(p["path"] for p in problems))
    return respond(document(422, "Invalid", f"The request is not valid: {named}.", fields={"problems": problems}))


async def _on_http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    code = {400: "Malformed", 404: "NotFound", 405: "MethodNotAllowed"}.get(
        status, status.name.title().replace("_", "")
    )
    return respond(document(status, code, str(error.detail)), dict(error.headers or {}))


async def _on_unexpected(request: Request, error: Exception) -> JSONResponse:
    problem_id = uuid.uuid4().hex
    log.error(
        "request.failed problem_id=%s method=%s path=%s", problem_id, request.method, request.url.path, exc_info=error
    )
    return respond(document(500, "Unexpected", UNEXPECTED.format(problem_id), problem_id=problem_id))


LOOKED_UP = {"run", "approval", "grant", "delegation", "hold", "activation"}
"""Ids in paths that the caller was given. Names that a caller chooses are checked, and told, as the body is."""


def _impossible_id(errors: Sequence[Any]) -> str | None:
    """Return the sentence about an id in the path that nothing can have, or None. A regular expression helps nobody."""
    for error in errors:
        where, *name = error["loc"]
        if where == "path" and error["type"] == "string_pattern_mismatch" and name[0] in LOOKED_UP:
            kind = name[0]
            hint = " The id of a run is TENANT/CAPSULE/KEY: see `somagent runs list`." if kind == "run" else ""
            return f"There is no {kind} {str(error['input']).replace('~', '/')!r}.{hint}"
    return None


def validation_problems(errors: Sequence[Any]) -> list[dict[str, Any]]:
    """Return pydantic's errors as paths and messages. The values are left out: they may be secret."""
    return [
        {
            "path": ".".join(str(part) for part in error["loc"]) or "body",
            "message": str(error.get("ctx", {}).get("error") or error["msg"]),
        }
        for error in errors
    ]


def _declared(status: int) -> dict[str, Any]:
    code, detail = EXAMPLES[status]
    example = document(status, code, detail).model_dump(exclude_none=True)
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": example["title"], "content": {MEDIA_TYPE: {"schema": schema, "example": example}}}
