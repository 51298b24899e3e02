"""Usage of a call whose provider reported none: an estimate, and marked so."""

from capsules.chat import Message, Usage

BYTES_PER_TOKEN = 3  # English text has about four; a budget is better charged a little too much
FRAME = 8  # tokens of role and delimiters that a message's template adds


def estimated(messages: tuple[Message, ...], reply: str, *, pieces: int) -> Usage:
    """Estimate from bytes; the reply has at least as many tokens as it came in pieces."""
    read = sum(_tokens(message.text) + FRAME for message in messages) + FRAME
    return Usage(input_tokens=read, output_tokens=max(pieces, _tokens(reply)), estimated=True)


def _tokens(text: str) -> int:
    return -(-len(text.encode()) // BYTES_PER_TOKEN)
