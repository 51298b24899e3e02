"""What tells a credential from what merely stands where one could: placeholders, references, words, digests."""

import math
from collections import Counter
from itertools import pairwise

import re2

PLACEHOLDERS = (
    "example", "sample", "placeholder", "redacted", "changeme", "change_me", "change-me", "your", "xxxx", "****",
    "....", "dummy", "insert", "replace", "${", "{{", "}}", "$(", "%(", "abcdefgh", "todo", "secretref",
    "vault:", "arn:",
)  # fmt: skip
ELSEWHERE = ("/", "./", "~/", "http", "sha256:", "file:")
"""How a path, an address or a digest begins: where a credential is, not what it is."""

REFERENCE = re2.compile(r"\$?[A-Za-z_][A-Za-z0-9_.]*[\[(]|(?:self|os|settings|config|process|args|env|request)\.")
"""How a program names a value that it gets elsewhere."""

JOINTS = str.maketrans("", "", "_.-")
CLASSES = (str.islower, str.isupper, str.isdigit, lambda c: not c.isalnum())
SELF_EXPLAINING = frozenset({"password", "passwd", "passwort", "secret", "pass", "token"})


def entropy(text: str) -> float:
    """Return Shannon's bits per character."""
    return -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values()) if text else 0.0


def is_real(value: str) -> bool:
    """Tell a value that could be a credential from a placeholder."""
    lower = value.lower()
    if lower in SELF_EXPLAINING or value[0] in "<[$%{":
        return False
    return len(set(value)) >= 5 and not any(word in lower for word in PLACEHOLDERS)


def is_password(value: str) -> bool:
    """Tell a password from a word or a reference: two kinds of character, and not words with joints."""
    bare = value.strip("\"'`).,;")
    if len(bare) < 6 or bare.startswith(ELSEWHERE) or REFERENCE.match(bare) or not is_real(bare):
        return False
    jointless = bare.translate(JOINTS)
    if jointless.isalpha() or jointless.isdigit():
        return False
    return sum(any(map(of_class, bare)) for of_class in CLASSES) >= 2


def is_bearer(value: str) -> bool:
    return is_password(value) and entropy(value) >= 3.0


def is_random(value: str) -> bool:
    """Tell a token drawn by chance from names, paths, digests and public keys: it changes class all the time."""
    bare = value.rstrip("=")
    if not 32 <= len(bare) <= 128 or bare.lower().startswith(("sha", "aaaa")) or not is_real(bare):
        return False
    classes = ["u" if c.isupper() else "l" if c.islower() else "d" for c in bare if c.isalnum()]
    changes = sum(before != after for before, after in pairwise(classes))
    return len(set(classes)) == 3 and changes >= 0.4 * len(bare) and entropy(bare) >= 4.0
