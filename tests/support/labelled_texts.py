"""Labelled texts of tests/data, written by us. Characters from a fixed seed stand where keys would be."""

import random
import re
import string
from pathlib import Path

import yaml

DIRECTORY = Path(__file__).parents[1] / "data" / "signals"
DRAWN = re.compile(r"\{(alnum|base32|digits|hex|random):(\d+)\}")
ALPHABETS = {
    "alnum": string.ascii_letters + string.digits,
    "base32": string.ascii_uppercase + "234567",
    "digits": string.digits,
    "hex": "0123456789abcdef",
    "random": string.ascii_letters + string.digits + "+/",
}


def labelled_texts(name: str) -> list[tuple[str, bool]]:
    """Return each text and whether it is one."""
    return _read_texts(name, yaml.safe_load((DIRECTORY / f"{name}.yaml").read_text("utf-8")))


def held_out_texts(name: str) -> list[tuple[str, bool]]:
    """Return texts that were written after the patterns."""
    return _read_texts(name, yaml.safe_load((DIRECTORY / "held_out.yaml").read_text("utf-8"))[name])


def _read_texts(seed: str, document: dict[str, list[str]]) -> list[tuple[str, bool]]:
    chance = random.Random(seed)
    texts = [(text, label == "positive") for label in ("positive", "negative") for text in document[label]]
    return [
        (DRAWN.sub(lambda m: "".join(chance.choices(ALPHABETS[m[1]], k=int(m[2]))), text), is_) for text, is_ in texts
    ]
