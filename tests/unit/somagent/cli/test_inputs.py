"""Inputs from the command line: what wins, what is a number, what leads inside."""

from pathlib import Path

import pytest
import typer

from somagent.cli.inputs import gather


def gather_inputs(**more: object) -> dict:
    return gather(**({"example": None, "file": None, "fields": [], "files": []} | more))


@pytest.mark.parametrize(
    ("pair", "value"),
    [("n=3", 3), ('n="3"', "3"), ("n=three", "three"), ("n=true", True), ("n=[1]", [1]), ("n=", ""), ("n=a=b", "a=b")],
)
def test_a_field_is_json_where_it_is_json_else_text(pair: str, value: object) -> None:
    assert gather_inputs(fields=[pair]) == {"n": value}


def test_dots_lead_inside() -> None:
    assert gather_inputs(fields=["issue.title=Hi", "issue.body=Ho"]) == {"issue": {"title": "Hi", "body": "Ho"}}


def test_the_later_source_wins(tmp_path: Path) -> None:
    file, text = tmp_path / "in.yaml", tmp_path / "text"
    file.write_text("a: 2\nb: 2\nc: 2\n")
    text.write_text("4")
    inputs = gather_inputs(example={"a": 1, "z": 1}, file=str(file), fields=["b=3", "c=3"], files=[f"c={text}"])
    assert inputs == {"a": 2, "z": 1, "b": 3, "c": "4"}


@pytest.mark.parametrize(
    "more",
    [
        {"fields": ["novalue"]},
        {"fields": ["=x"]},
        {"fields": ["a=1", "a.b=2"]},
        {"files": ["a=/nowhere"]},
        {"file": "/nowhere.json"},
    ],
)
def test_what_cannot_be_inputs_is_a_wrong_command_line(more: dict) -> None:
    with pytest.raises(typer.Exit) as caught:
        gather_inputs(**more)
    assert caught.value.exit_code == 2


def test_a_file_without_a_mapping_is_a_wrong_command_line(tmp_path: Path) -> None:
    file = tmp_path / "in.json"
    file.write_text("[1]")
    with pytest.raises(typer.Exit):
        gather_inputs(file=str(file))
