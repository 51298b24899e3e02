"""Reads protobuf text format as far as the CEL conformance cases use it: names, blocks, numbers, words and strings."""

import ast
import re
from pathlib import Path
from typing import Any

TOKEN = re.compile(
    r"""(?P<space>(?:\s|\#[^\n]*)+)|(?P<text>[rbuRBU]{0,2}(?:"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'))"""
    r"""|(?P<word>-?[A-Za-z_][\w.]*|-?[0-9][\w.+-]*|-?\.[0-9][\w+-]*|\[[\w./]+\])|(?P<mark>[{}<>:,;\[\]])""",
    re.DOTALL,
)
Block = dict[str, list[Any]]
"""Every value of a name, in order; a value is a block, a word or a text as bytes."""


class Word(str):
    """A number, an enumeration's name or true; told from a quoted text."""

    __slots__ = ()


def read(path: Path) -> Block:
    """Return the file's message."""
    tokens = list(_tokens(path.read_text("utf-8")))
    block, end = _block(tokens, 0)
    assert end == len(tokens), f"{path}: what follows token {end} does not read"
    return block


def _tokens(text: str) -> list[tuple[str, str]]:
    found, position = [], 0
    while position < len(text):
        match = TOKEN.match(text, position)
        assert match is not None, f"does not read: {text[position : position + 60]!r}"
        if match.lastgroup != "space":
            found.append((match.lastgroup or "", match[0]))
        position = match.end()
    return found


def _block(tokens: list[tuple[str, str]], at: int) -> tuple[Block, int]:
    block: Block = {}
    while at < len(tokens) and tokens[at][1] not in "}>":
        name = tokens[at][1]
        at += 1
        if tokens[at][1] == ":":
            at += 1
        value, at = _value(tokens, at)
        block.setdefault(name, []).append(value)
        if at < len(tokens) and tokens[at][1] in ",;":
            at += 1
    return block, at


def _value(tokens: list[tuple[str, str]], at: int) -> tuple[Any, int]:
    kind, text = tokens[at]
    if text in "{<":
        block, end = _block(tokens, at + 1)
        return block, end + 1
    if kind == "word":
        return Word(text), at + 1
    assert kind == "text", f"{text!r} is no value"
    parts = []
    while at < len(tokens) and tokens[at][0] == "text":
        # Its escapes are those of C, and Python's bytes know them; other characters stand for their UTF-8.
        escaped = "".join(c if ord(c) < 128 else "".join(f"\\x{b:02x}" for b in c.encode()) for c in tokens[at][1])
        parts.append(_bytes(escaped))
        at += 1
    return b"".join(parts), at


def _bytes(literal: str) -> bytes:
    # \u and \U are no escapes of Python's bytes.
    plain = re.sub(
        r"(?<!\\)((?:\\\\)*)\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))",
        lambda m: m[1] + "".join(f"\\x{b:02x}" for b in chr(int(m[2] or m[3], 16)).encode()),
        literal,
    )
    value: bytes = ast.literal_eval(f"b{plain}")
    return value
