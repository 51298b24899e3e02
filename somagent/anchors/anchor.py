"""What an anchor is: a place that keeps the digest of each block, out of reach of who could change the database."""

from collections.abc import Sequence
from typing import Protocol

from capsules.audit.audit_blocks import Block


class Anchor(Protocol):
    """Keeps blocks of a tenant in the order of their heights."""

    name: str

    async def height(self, tenant: str) -> int:
        """Return the height of the newest block that is kept; 0 for none. Raises Unavailable."""

    async def keep(self, blocks: Sequence[Block]) -> None:
        """Keep the blocks, which follow those kept before. Durable when it returns. Raises Unavailable."""


def line(block: Block) -> dict[str, object]:
    """Return what is kept of a block."""
    return block.model_dump(mode="json", include={"tenant", "height", "last", "digest", "key_id", "signature"})
