"""Anchors: a file on a real disk and a real HTTP server keep the same contract. No mocks."""

from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from object_store import object_store
from servers import free_ports

from capsules.audit.audit_blocks import Block
from capsules.digest import GENESIS, Digest, digest
from capsules.errors import Unavailable
from somagent.anchors.anchor import Anchor, FileAnchor, WebAnchor, read_anchors

Opens = Callable[[], Anchor]


def block(height: int, tenant: str = "acme", *, root: str = "00") -> Block:
    return Block(
        tenant=tenant,
        height=height,
        first=height,
        last=height,
        root=root,
        previous=GENESIS,
        sealed_at=datetime(2026, 1, 1, tzinfo=UTC),
        digest=Digest(digest([tenant, height, root])),
        key_id="sealer-1-0",
        signature="",
    )


@pytest.fixture(params=["file", "web"])
async def opens(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Opens]:
    """How a process opens the anchor anew: what it keeps outlives the process."""
    with ExitStack() as stack:
        async with httpx.AsyncClient() as client:
            if request.param == "file":
                yield lambda: FileAnchor(tmp_path / "deep" / "anchors.jsonl")
            else:
                url = stack.enter_context(object_store(tmp_path))
                yield lambda: WebAnchor(url, client)


@pytest.mark.parametrize("heights", [1, 2, 3, 7, 8])
async def test_what_is_kept_is_found_by_another_process(opens: Opens, heights: int) -> None:
    anchor = opens()
    assert await anchor.height("acme") == 0
    await anchor.keep([block(height) for height in range(1, heights + 1)])
    await anchor.keep([block(1, "other")])
    for again in (anchor, opens()):
        assert await again.height("acme") == heights
        assert await again.height("other") == 1
        assert await again.height("nobody") == 0


async def test_a_line_that_a_crash_cut_off_costs_no_other(tmp_path: Path) -> None:
    path = tmp_path / "anchors.jsonl"
    await FileAnchor(path).keep([block(1)])
    with path.open("a") as file:
        file.write('{"tenant": "acme", "hei')
    again = FileAnchor(path)
    assert await again.height("acme") == 1
    await again.keep([block(2), block(3)])
    assert [kept["height"] for kept in read_anchors(path)] == [1, 2, 3]
    assert await FileAnchor(path).height("acme") == 3


async def test_a_file_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="cannot be"):
        await FileAnchor(tmp_path / "file" / "anchors.jsonl").keep([block(1)])


async def test_an_anchored_block_is_never_replaced(tmp_path: Path) -> None:
    with object_store(tmp_path) as url:
        async with httpx.AsyncClient() as client:
            await WebAnchor(url, client).keep([block(1)])
            await WebAnchor(url, client).keep([block(1)])  # the same again is no harm
            with pytest.raises(Unavailable, match="keeps another block 1 of 'acme'"):
                await WebAnchor(url, client).keep([block(1, root="ff")])


async def test_an_anchor_that_is_away_says_so() -> None:
    async with httpx.AsyncClient() as client:
        anchor = WebAnchor(f"http://127.0.0.1:{free_ports(1)[0]}", client)
        with pytest.raises(Unavailable, match="cannot be reached: ConnectError"):
            await anchor.height("acme")
