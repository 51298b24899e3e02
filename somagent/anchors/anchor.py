"""Anchors: places outside of the database that keep the digest of each audit block.

A person who changes the database cannot change an anchor. There are two kinds: a file that is only appended to, and an
HTTP store, written by PUT `{url}/{tenant}/{height}` with `If-None-Match: *`, which never overwrites (RFC 9110, 13.1.2).
"""

import asyncio
import json
import os
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Protocol

import httpx

from capsules.audit.audit_blocks import Block
from capsules.errors import Unavailable


class Anchor(Protocol):
    """A place that keeps the digests of blocks, for each tenant in the order of their heights."""

    name: str

    async def height(self, tenant: str) -> int:
        """Return the height of the newest block that is kept; 0 for none. Raises Unavailable."""

    async def keep(self, blocks: Sequence[Block]) -> None:
        """Keep blocks that follow the kept ones. They are durable when this returns. Raises Unavailable."""


def anchored_fields(block: Block) -> dict[str, object]:
    """Return the fields of a block that an anchor keeps."""
    return block.model_dump(mode="json", include={"tenant", "height", "last", "digest", "key_id", "signature"})


class FileAnchor:
    """Anchor in a file with one JSON document on each line, synced before `keep` returns. One process may write."""

    name = "file"

    def __init__(self, path: Path) -> None:
        self.path = path
        self._heights: dict[str, int] | None = None

    async def height(self, tenant: str) -> int:
        return (await asyncio.to_thread(self._known)).get(tenant, 0)

    async def keep(self, blocks: Sequence[Block]) -> None:
        await asyncio.to_thread(self._append, blocks)

    def _known(self) -> dict[str, int]:
        if self._heights is None:
            try:
                self._heights = {}
                for kept in read_anchors(self.path):
                    self._heights[kept["tenant"]] = kept["height"]
            except OSError as error:
                self._heights = None
                raise Unavailable(f"The anchor file {str(self.path)!r} cannot be read: {error}") from error
        return self._heights

    def _append(self, blocks: Sequence[Block]) -> None:
        heights = self._known()
        text = "".join(json.dumps(anchored_fields(block)) + "\n" for block in blocks)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            with os.fdopen(descriptor, "ab") as file:
                # A crash may have left half a line; it stays on a line of its own.
                if file.tell() and os.pread(descriptor, 1, file.tell() - 1) != b"\n":
                    text = "\n" + text
                file.write(text.encode())
                file.flush()
                os.fsync(descriptor)
        except OSError as error:
            self._heights = None
            raise Unavailable(f"The anchor file {str(self.path)!r} cannot be written: {error}") from error
        for block in blocks:
            heights[block.tenant] = block.height


def read_anchors(path: Path) -> list[dict[str, Any]]:
    """Return the entries of an anchor file in order, without lines that a crash cut off. Raises OSError."""
    kept = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else ():
        try:
            found = json.loads(text)
        except ValueError:
            continue
        if isinstance(found, dict) and {"tenant", "height", "digest"} <= found.keys():
            kept.append(found)
    return kept


SECONDS = 10.0


class WebAnchor:
    """Anchor in an object store or any server that supports conditional PUT."""

    name = "web"

    def __init__(self, url: str, client: httpx.AsyncClient) -> None:
        self.url = url.rstrip("/")
        self._client = client
        self._heights: dict[str, int] = {}

    async def height(self, tenant: str) -> int:
        if tenant not in self._heights:
            self._heights[tenant] = await self._find_height(tenant)
        return self._heights[tenant]

    async def keep(self, blocks: Sequence[Block]) -> None:
        for block in blocks:
            answer = await self._ask("PUT", block.tenant, block.height, anchored_fields(block))
            if answer.status_code == HTTPStatus.PRECONDITION_FAILED:
                await self._require_same(block)
            elif not answer.is_success:
                raise Unavailable(f"The anchor at {self.url} answered {answer.status_code} to block {block.height}.")
            self._heights[block.tenant] = block.height

    async def _require_same(self, block: Block) -> None:
        """Raise Unavailable unless the stored block is this block."""
        kept = await self._ask("GET", block.tenant, block.height)
        if not kept.is_success or kept.json().get("digest") != block.digest:
            raise Unavailable(
                f"The anchor at {self.url} keeps another block {block.height} of {block.tenant!r}: this database was "
                "changed, or two installations share the anchor. Run `somagent audit verify`."
            )

    async def _find_height(self, tenant: str) -> int:
        """Return the newest height by binary search: blocks are put in order, so none is missing below."""
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
