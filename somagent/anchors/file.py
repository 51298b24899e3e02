"""Anchors in a file: one JSON document a line, only ever appended to, on the disk before the sealer goes on."""

import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from capsules.audit.audit_blocks import Block
from capsules.errors import Unavailable
from somagent.anchors.anchor import line


class FileAnchor:
    """Implements `Anchor`. One process writes to a file at a time."""

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
                for kept in read(self.path):
                    self._heights[kept["tenant"]] = kept["height"]
            except OSError as error:
                self._heights = None
                raise Unavailable(f"The anchor file {str(self.path)!r} cannot be read: {error}") from error
        return self._heights

    def _append(self, blocks: Sequence[Block]) -> None:
        heights = self._known()
        text = "".join(json.dumps(line(block)) + "\n" for block in blocks)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            with os.fdopen(descriptor, "ab") as file:
                # A crash may have left half a line: it stays, on a line of its own.
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


def read(path: Path) -> list[dict[str, Any]]:
    """Return what a file of anchors keeps, in its order; lines that a crash cut off are left out."""
    kept = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else ():
        try:
            found = json.loads(text)
        except ValueError:
            continue
        if isinstance(found, dict) and {"tenant", "height", "digest"} <= found.keys():
            kept.append(found)
    return kept
