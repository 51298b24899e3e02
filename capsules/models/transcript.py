"""Transcripts in the content store: linked segments, loaded from their head and cut to a size limit."""

from pydantic import ValidationError

from capsules.digest import ContentStore, Digest, canonical
from capsules.errors import TamperedContent
from capsules.models.chat import Message, TranscriptHead, TranscriptSegment

MEDIA_TYPE = "application/vnd.somagent.transcript+json"


async def load(
    content: ContentStore, tenant: str, head: TranscriptHead | None, new: tuple[Message, ...], *, limit: int
) -> tuple[Message, ...]:
    """Return what a model may read: the opening, then the newest messages, at most `limit` bytes in all.

    Bytes bound tokens from above, whatever the model. Segments are read from the newest back until the limit is
    reached, so a long conversation costs no more than a short one. What is left out is said in a message of its own,
    so that the model does not take the conversation for whole.
    """
    if head is None:
        return new
    opening = (await _segment(content, tenant, head.opening)).messages
    room = limit - sum(map(_size, opening)) - sum(map(_size, new))
    middle: list[tuple[Message, ...]] = []
    at: Digest | None = head.digest
    while at is not None and at != head.opening and room > 0:
        segment = await _segment(content, tenant, at)
        room -= sum(map(_size, segment.messages))
        if room >= 0:
            middle.append(segment.messages)
            at = segment.previous
    left_out = at is not None and at != head.opening
    note = (Message(role="user", text="(Earlier messages are left out here.)"),) if left_out else ()
    return (*opening, *note, *(message for part in reversed(middle) for message in part), *new)


async def append(
    content: ContentStore, tenant: str, head: TranscriptHead | None, messages: tuple[Message, ...], *, tokens: int
) -> TranscriptHead:
    """Store one more segment and return the new head."""
    segment = TranscriptSegment(previous=head.digest if head else None, messages=messages)
    kept = await content.put(tenant, canonical(segment), MEDIA_TYPE)
    return TranscriptHead(digest=kept, opening=head.opening if head else kept, tokens=tokens)


async def _segment(content: ContentStore, tenant: str, digest: Digest) -> TranscriptSegment:
    try:
        return TranscriptSegment.model_validate_json(await content.get(tenant, digest))
    except ValidationError as error:
        raise TamperedContent(f"The content {digest} is not a transcript segment.", digest=digest) from error


def _size(message: Message) -> int:
    return len(message.text.encode()) + 16
