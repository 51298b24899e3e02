"""Vocabulary: a finite set of texts that represents all texts in proofs.

Expressions tell texts apart only by constants and prefixes. The prefixes of a text form a chain, so the longest one
determines the others. Each class is a constant or a longest prefix, and one representative is enough for it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from policy.language.schema import Choice, Text
from policy.language.typed_tree import Compare, Literal, Node, Read, StartsWith, Within, walk


@dataclass(frozen=True)
class Words:
    """The representatives of an attribute's texts: the constants, and one text for each longest prefix."""

    texts: tuple[str, ...]
    others: Mapping[str, int] = field(default_factory=dict)
    """Longest prefix to the representative of the texts that are no constant."""

    def index(self, text: str) -> int | None:
        """Return the representative of a text; None for one that the attribute never has."""
        if text in self.texts:
            return self.texts.index(text)
        prefixes = (prefix for prefix in self.others if text.startswith(prefix))
        return self.others.get(max(prefixes, key=len, default=""))


Vocabulary = Mapping[str, Words]


def vocabulary(nodes: Iterable[Node]) -> Vocabulary:
    """Return the words of each text attribute that some node reads; for a choice, its values."""
    constants: dict[str, set[str]] = {}
    prefixes: dict[str, set[str]] = {}
    found: dict[str, Words] = {}
    for node in (part for whole in nodes for part in walk(whole)):
        if isinstance(node, Read) and isinstance(node.type, Choice):
            found[node.attribute.path] = Words(node.type.values)
        elif isinstance(node, Read) and isinstance(node.type, Text):
            constants.setdefault(node.attribute.path, set()).add(node.attribute.ordinary or "ordinary")
        for operand, same, begins in _compared_texts(node):
            for part in walk(operand):
                if isinstance(part, Read) and isinstance(part.type, Text):
                    constants.setdefault(part.attribute.path, set()).update(same)
                    prefixes.setdefault(part.attribute.path, set()).update(begins)
    for path, texts in constants.items():
        found[path] = _words(texts, prefixes.get(path, set()))
    return found


def _compared_texts(node: Node) -> Iterable[tuple[Node, set[str], set[str]]]:
    match node:
        case Compare():
            for one, other in ((node.left, node.right), (node.right, node.left)):
                yield one, {str(n.value) for n in walk(other) if isinstance(n, Literal)}, set()
        case Within():
            yield node.operand, {str(value.value) for value in node.values}, set()
        case StartsWith():
            yield node.operand, set(), {node.prefix}
        case _:
            return


def _words(constants: set[str], prefixes: set[str]) -> Words:
    texts, others = sorted(constants), {}
    for prefix in sorted(prefixes | {""}):
        text = _other(prefix, constants, prefixes)
        if text is not None:
            others[prefix] = len(texts)
            texts.append(text)
    return Words(tuple(texts), others)


def _other(prefix: str, constants: set[str], prefixes: set[str]) -> str | None:
    """Return a text that is no constant and whose longest prefix is this one."""
    longer = {p for p in prefixes if len(p) > len(prefix) and p.startswith(prefix)}
    for ending in ("other", *map(chr, range(0x21, 0x7F)), *(f"\u00e9{n}" for n in range(len(constants) + 1))):
        text = prefix + ending
        if text not in constants and not any(text.startswith(p) for p in longer):
            return text
    return None
