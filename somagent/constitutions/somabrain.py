"""SomaBrain's constitution endpoints: version and load. A missing endpoint gives the status `unsupported`.

Deployments differ in the prefix of the paths, and the newest ones cannot accept a document. A successful answer proves
nothing, so after a load the version that SomaBrain reports is compared with the document.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Self

import httpx

from capsules.constitutions.proposal import MirrorResult
from capsules.errors import EffectFailed, Unavailable

PREFIXES = ("/api/constitution", "/constitution")
NOT_OFFERED = frozenset({404, 405, 501})
SECONDS = 5.0


class Unsupported(EffectFailed):
    """This deployment does not offer the endpoint."""


@dataclass(frozen=True)
class SomaBrain:
    """One deployment, by its base URL."""

    client: httpx.AsyncClient

    @classmethod
    def at(cls, base: str) -> Self:
        """Return the deployment at a base URL."""
        return cls(httpx.AsyncClient(base_url=base.rstrip("/"), timeout=SECONDS))

    async def close(self) -> None:
        """Close the connections."""
        await self.client.aclose()

    async def version(self) -> str | None:
        """Return the checksum of the loaded document, or None. Raises Unsupported, EffectFailed, Unavailable."""
        answer = _json_object(await self._ask("GET", "version"))
        loaded = answer.get("constitution_version")
        return str(loaded) if loaded else None

    async def load(self, document: dict[str, Any]) -> None:
        """Load a document. Raises Unsupported, EffectFailed, Unavailable."""
        await self._ask("POST", "load", document)

    async def mirror(self, document: dict[str, Any]) -> MirrorResult:
        """Load the active constitution unless it is loaded, and return the result, also of a failed request."""
        wanted = checksum(document)
        try:
            if await self.version() == wanted:
                return MirrorResult(status="in step", detail=f"It has {wanted} already.")
            await self.load(document)
            stated = await self.version()
        except Unsupported as error:
            return MirrorResult(status="unsupported", detail=error.message)
        except (EffectFailed, Unavailable) as error:
            return MirrorResult(status="failed", detail=error.message)
        if stated != wanted:
            return MirrorResult(status="failed", detail=f"It took the document and states {stated!r}, not {wanted}.")
        return MirrorResult(status="in step", detail=f"It took {wanted}.")

    async def _ask(self, method: str, what: str, body: dict[str, Any] | None = None) -> httpx.Response:
        """Send a request under each prefix until one is offered. 404 can mean a wrong prefix or a missing endpoint."""
        answers = []
        for prefix in PREFIXES:
            try:
                answer = await self.client.request(method, f"{prefix}/{what}", json=body)
            except httpx.HTTPError as error:
                raise Unavailable(
                    f"SomaBrain at {self.client.base_url} cannot be reached: {str(error) or type(error).__name__}"
                ) from error
            if answer.status_code not in NOT_OFFERED:
                return _check(answer)
            answers.append(f"{answer.request.url.path}: {answer.status_code}")
        raise Unsupported(f"This SomaBrain does not offer constitution/{what} ({', '.join(answers)}).")


def checksum(document: dict[str, Any]) -> str:
    """Return SomaBrain's own checksum: SHA3-512 over JSON with sorted keys and no spaces."""
    return hashlib.sha3_512(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _check(answer: httpx.Response) -> httpx.Response:
    where = f"{answer.request.method} {answer.request.url.path}"
    if answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY and _wants_a_query(answer):
        raise Unsupported(f"{where} cannot accept a document: this SomaBrain looks for it in the query.")
    if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
        raise Unavailable(f"{where} answered {answer.status_code}: {answer.text[:200]}")
    if not answer.is_success:
        raise EffectFailed(f"{where} answered {answer.status_code}: {answer.text[:200]}")
    return answer


def _wants_a_query(answer: httpx.Response) -> bool:
    """Return whether the refusal is the known bug of version 3: it declares the body as a query parameter."""
    detail = _json_object(answer).get("detail")
    first = detail[0] if isinstance(detail, list) and detail and isinstance(detail[0], dict) else {}
    return bool(first.get("loc", [None])[:1] == ["query"])


def _json_object(answer: httpx.Response) -> dict[str, Any]:
    try:
        value = answer.json()
    except ValueError as error:
        raise EffectFailed(f"{answer.request.url.path} answered no JSON: {answer.text[:200]!r}") from error
    if not isinstance(value, dict):
        raise EffectFailed(f"{answer.request.url.path} answered no object: {answer.text[:200]!r}")
    return value
