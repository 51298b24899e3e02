"""Anchors in a store that answers HTTP: PUT `{url}/{tenant}/{height}`, never over what is there (RFC 9110 §13.1.2)."""

from collections.abc import Sequence
from http import HTTPStatus

import httpx

from capsules.audit.audit_blocks import Block
from capsules.errors import Unavailable
from somagent.anchors.anchor import line

SECONDS = 10.0


class WebAnchor:
    """Implements `Anchor` for object stores and any server that takes conditional PUTs."""

    name = "web"

    def __init__(self, url: str, client: httpx.AsyncClient) -> None:
        self.url = url.rstrip("/")
        self._client = client
        self._heights: dict[str, int] = {}

    async def height(self, tenant: str) -> int:
        if tenant not in self._heights:
            self._heights[tenant] = await self._found(tenant)
        return self._heights[tenant]

    async def keep(self, blocks: Sequence[Block]) -> None:
        for block in blocks:
            answer = await self._ask("PUT", block.tenant, block.height, line(block))
            if answer.status_code == HTTPStatus.PRECONDITION_FAILED:
                await self._same(block)
            elif not answer.is_success:
                raise Unavailable(f"The anchor at {self.url} answered {answer.status_code} to block {block.height}.")
            self._heights[block.tenant] = block.height

    async def _same(self, block: Block) -> None:
        """Raise Unavailable unless what is kept already is this very block."""
        kept = await self._ask("GET", block.tenant, block.height)
        if not kept.is_success or kept.json().get("digest") != block.digest:
            raise Unavailable(
                f"The anchor at {self.url} keeps another block {block.height} of {block.tenant!r}: this database was "
                "changed, or two installations share the anchor. Run `somagent audit verify`."
            )

    async def _found(self, tenant: str) -> int:
        """Return the newest height by halving: blocks are put in order, so none is missing below."""
        low, high = 0, 1
        while await self._has(tenant, high):
            low, high = high, high * 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if await self._has(tenant, middle) else (low, middle)
        return low

    async def _has(self, tenant: str, height: int) -> bool:
        answer = await self._ask("HEAD", tenant, height)
        if answer.status_code not in {HTTPStatus.OK, HTTPStatus.NOT_FOUND}:
            raise Unavailable(f"The anchor at {self.url} answered {answer.status_code} to HEAD.")
        return answer.status_code == HTTPStatus.OK

    async def _ask(
        self, method: str, tenant: str, height: int, body: dict[str, object] | None = None
    ) -> httpx.Response:
        url = f"{self.url}/{tenant}/{height}"
        headers = {"If-None-Match": "*"} if body else {}
        try:
            return await self._client.request(method, url, json=body, headers=headers, timeout=SECONDS)
        except httpx.TransportError as error:
            raise Unavailable(f"The anchor at {self.url} cannot be reached: {type(error).__name__}.") from error
