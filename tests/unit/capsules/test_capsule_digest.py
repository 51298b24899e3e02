"""One capsule has one digest, however its file is written."""

import json
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from properties import examples

from somagent.capsule_files.document import load
from somagent.capsule_files.library import Library

CAPSULES = Library.load().capsules


@st.composite
def written_capsule(draw: st.DrawFn) -> tuple[str, str, str]:
    """Return a shipped capsule's digest, and the same capsule as some YAML or JSON text."""
    capsule = draw(st.sampled_from(CAPSULES))
    value = shuffled(capsule.model_dump(mode="json", by_alias=True), draw)
    if draw(st.booleans()):
        indent = draw(st.sampled_from([None, 1, 4]))
        return capsule.digest(), json.dumps(value, indent=indent, ensure_ascii=draw(st.booleans())), "capsule.json"
    style = {"default_flow_style": draw(st.booleans()), "width": draw(st.sampled_from([40, 100, 1000]))}
    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=draw(st.booleans()), **style)
    return capsule.digest(), text, "capsule.yaml"


def shuffled(value: Any, draw: st.DrawFn) -> Any:
    if isinstance(value, dict):
        return {key: shuffled(value[key], draw) for key in draw(st.permutations(list(value)))}
    if isinstance(value, list):
        return [shuffled(item, draw) for item in value]
    return value


@given(written_capsule())
@settings(max_examples=examples(25), deadline=None)
def test_key_order_and_format_do_not_change_the_digest(case: tuple[str, str, str]) -> None:
    digest, text, filename = case
    assert load(text, filename=filename).digest() == digest


@given(st.sampled_from(CAPSULES), st.sampled_from(["summary", "owner"]), st.text(min_size=1, max_size=20))
@settings(max_examples=examples(25), deadline=None)
def test_any_change_changes_the_digest(capsule: Any, field: str, text: str) -> None:
    changed = capsule.model_copy(
        update={"metadata": capsule.metadata.model_copy(update={field: text + capsule.metadata.summary})}
    )
    assert changed.digest() != capsule.digest()


def test_what_is_left_out_is_its_default() -> None:
    capsule = next(c for c in CAPSULES if c.metadata.name == "word-count")
    short = capsule.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    assert load(json.dumps(short), filename="capsule.json").digest() == capsule.digest()
