"""Transcripts in the content store: linked segments, loaded by their head, cut to what a model can read."""

from pydantic import ValidationError

from capsules.chat import Message, TranscriptHead, TranscriptSegment
from capsules.digest import Digest, canonical
from capsules.errors import TamperedContent
from capsules.ports import ContentStore

MEDIA_TYPE = "application/vnd.somagent.transcript+json"


async def load(content: ContentStore, tenant: str, head: TranscriptHead | None) -> tuple[Message, ...]:
    """Return every message up to `head`, oldest first."""
    segments: list[TranscriptSegment] = []
    digest = head.digest if head else None
    while digest is not None:
        segment = await _segment(content, tenant, digest)
        segments.append(segment)
        digest = segment.previous
    return tuple(message for segment in reversed(segments) for message in segment.messages)


async def append(
    content: ContentStore, tenant: str, head: TranscriptHead | None, messages: tuple[Message, ...], *, tokens: int
) -> TranscriptHead:
    """Store one more segment and return the new head."""
    segment = TranscriptSegment(previous=head.digest if head else None, messages=messages)
    return TranscriptHead(digest=await content.put(tenant, canonical(segment), MEDIA_TYPE), tokens=tokens)


def fit(messages: tuple[Message, ...], *, limit: int) -> tuple[Message, ...]:
    """Return what a model may read: system messages and the newest rest, at most `limit` bytes in all.

    Bytes bound tokens from above, whatever the model. What is left out is said in a message of its own, so that the
    model does not take the conversation for whole.
    """
    system = [m for m in messages if m.role == "system"]
    rest = [m for m in messages if m.role != "system"]
    room = limit - sum(_size(m) for m in system)
    kept: list[Message] = []
    for message in reversed(rest):
        room -= _size(message)
        if room < 0 and kept:
            break
        kept.append(message)
    left_out = len(rest) - len(kept)
    note = [Message(role="system", text=f"({left_out} earlier messages are left out.)")] if left_out else []
    return (*system, *note, *reversed(kept))


async def _segment(content: ContentStore, tenant: str, digest: Digest) -> TranscriptSegment:
    try:
        return TranscriptSegment.model_validate_json(await content.get(tenant, digest))
    except ValidationError as error:
        raise TamperedContent(f"The content {digest} is not a transcript segment.", digest=digest) from error


def _size(message: Message) -> int:
    return len(message.text.encode()) + 16
