"""What a user reads in the product's strings follows docs/glossary.md: no word of its table "do not write"."""

import ast
import re
from collections.abc import Iterator
from functools import cache

import pytest
from sources import PACKAGES, ROOT, at, parsed

TABLE = re.compile(r"\| do not write \| write \|\n\|[-|]+\|\n((?:\|.*\n)+)")
OTHER_SENSES = {
    "pass": (r"(?<!\ba )(?<!\bthe )(?<!\bits )(?<!\bone )(?<!\bno )pass(?:es|ed)?", "the verb"),
    "rate": (r"rate (?:limit|window)s?", "the term, and the window that counts for it"),
    "replay": (r"Replays add no span", "the replay of a workflow from its history"),
    "standing": (r"standing grants?", "the term"),
}
"""Phrases in which a word has its own meaning, with that meaning."""
SIGNALS = re.compile(
    r"api/(main|resources/approvals)|capsules/(approvals|runs)/|sandbox/seccomp|somagent/(cli/approvals|db/gate/approvals)"
    r"|somagent/(governance|local_stack|stop_signals)|workers/relay|workflows/"
)
"""Places that speak of Temporal Signals and of signals of the operating system; the others have detector scores."""
CODE = re.compile(r"`[^`]*`|[:.]\w+|\b(?:SELECT|INSERT|UPDATE|DELETE|WITH) .*", re.DOTALL)
LOG_METHODS = {"debug", "info", "warning", "error", "exception", "critical"}


@cache
def words() -> list[str]:
    """Return the words of the glossary's table, without the senses in parentheses."""
    [table] = TABLE.findall((ROOT / "docs" / "glossary.md").read_text("utf-8"))
    cells = [re.sub(r"\(.*?\)", "", line.split("|")[1]) for line in table.splitlines()]
    return sorted({word.strip() for cell in cells for word in cell.split(",")})


def unwanted(text: str, place: str = "") -> list[str]:
    """Return the words of the table that a text has in a sense that the table replaces."""
    # Most strings have none of the words: the first search is all that they cost.
    if not anywhere().search(text):
        return []
    text = CODE.sub("", text)
    for phrases, _ in OTHER_SENSES.values():
        text = re.sub(rf"\b{phrases}\b", "", text, flags=re.IGNORECASE)
    signals_too = SIGNALS.match(place)
    return [found for found in anywhere().findall(text) if not (signals_too and found.lower().startswith("signal"))]


@cache
def anywhere() -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(words())})(?:s|es|d|ed|ing)?\b", re.IGNORECASE)


def prose(tree: ast.Module) -> Iterator[tuple[ast.expr, str]]:
    """Yield each string of several words, and the name of each log event, with its parts as words."""
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if " " in text:
                yield node, text
            case ast.Call(func=ast.Attribute(attr=name), args=[ast.Constant(value=str(text)), *_]) if (
                name in LOG_METHODS and " " not in text
            ):
                yield node, re.sub(r"[._]", " ", text)


def test_the_table_of_the_glossary_is_read():
    assert {"seal", "standing", "signal", "replay", "pass", "passage", "notice", "pressure"} <= set(words())
    assert OTHER_SENSES.keys() <= set(words())


def test_no_string_has_a_word_that_the_glossary_replaces():
    found = [
        f"{at(file, node)} {bad}"
        for file, tree in parsed(*PACKAGES)
        for node, text in prose(tree)
        if (bad := unwanted(text, str(file)))
    ]
    assert found == []


@pytest.mark.parametrize(
    "code",
    [
        'raise Invalid("The hash was sealed.")',
        'def f():\n    """Return the standing of an actor."""',
        'raise Denied(f"{one} has no pass for it.")',
        'Field(description="The trust signals of a text.")',
        'log.info("notice.sent", channel=1)',
        'Option(help="The rate of a project.")',
        'raise Unavailable("It is not replayed, because of budget pressure.")',
    ],
)
def test_such_a_word_would_be_noticed(code):
    assert [bad for _, text in prose(ast.parse(code)) if (bad := unwanted(text))]
