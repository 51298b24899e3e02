"""Documents tell what the code does: generated parts are current, files and links are there, examples validate.

No mocks: the generator runs as a person runs it, and capsules in documents are checked by what checks published ones.
"""

import json
import re
import subprocess
import sys
import urllib.parse
from typing import get_args

import pytest
import yaml
from sources import PACKAGES, ROOT, markdown, python_files
from typer.main import get_command

from capsules.capsule import Capsule
from capsules.errors import Invalid, NotFound
from capsules.events import TYPES, Topic
from capsules.expressions import evaluate_condition, fill_template
from capsules.names import parse_reference
from somagent.capsule_files.check import check
from somagent.capsule_files.document import load
from somagent.capsule_files.library import Library
from somagent.cli.main import app as cli

DOCUMENTS = [str(file.relative_to(ROOT)) for file in markdown()]
FENCED = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")
PRINCIPLE = re.compile(r"no (mocks|imitations|bypasses|invented values)", re.IGNORECASE)


def blocks(language: str) -> list[tuple[str, str]]:
    return [
        (name, found["text"])
        for name in DOCUMENTS
        for found in FENCED.finditer((ROOT / name).read_text("utf-8"))
        if found["language"] == language
    ]


CAPSULES = [pytest.param(text, id=name) for name, text in blocks("yaml") if "kind: Capsule" in text]


@pytest.fixture(scope="module")
def library() -> Library:
    return Library.load()


def checked(text: str, library: Library) -> Capsule:
    """Return the capsule of a file after the checks that publishing makes, with the shipped ones published before."""

    def resolve(reference: str) -> Capsule | None:
        try:
            return library.capsule(parse_reference(reference))
        except NotFound:
            return None

    capsule = load(text, filename="document.yaml")
    check(capsule, library, resolve, text=text)
    return capsule


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_document_opens_with_the_principle(name):
    lines = [line for line in (ROOT / name).read_text("utf-8").splitlines() if line]
    assert lines[0].startswith("# ")
    assert lines[1].startswith("> "), "under the title stands the principle"
    assert PRINCIPLE.search(lines[1])


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_to_files_that_are_there(name):
    text = FENCED.sub("", (ROOT / name).read_text("utf-8"))
    missing = [
        target
        for target in LINK.findall(text)
        if not urllib.parse.urlsplit(target).scheme
        and not target.startswith("#")
        and not (ROOT / name).parent.joinpath(target.partition("#")[0]).exists()
    ]
    assert missing == []


def test_every_document_can_be_found_from_the_readme():
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        document = waiting.pop()
        if document in reached or not document.exists():
            continue
        reached.add(document)
        links = [t.partition("#")[0] for t in LINK.findall(document.read_text("utf-8")) if "://" not in t]
        waiting += [document.parent.joinpath(link).resolve() for link in links if link.endswith(".md")]
    docs = {file for file in markdown() if file.parent == ROOT / "docs"}
    assert sorted(str(file.relative_to(ROOT)) for file in docs - reached) == []


def test_documents_hold_capsules_to_check():
    assert len(CAPSULES) >= 3


@pytest.mark.parametrize("text", CAPSULES)
def test_a_capsule_in_a_document_validates(text, library):
    try:
        checked(text, library)
    except Invalid as error:
        pytest.fail(json.dumps(error.fields, indent=1))


def test_the_worked_example_does_what_the_document_says(library, tmp_path):
    """The program of its tool step runs here, and the deliverable is put together from what it printed."""
    [text] = [text for _, text in blocks("yaml") if "name: release-check" in text]
    spec = checked(text, library).spec
    count = spec.steps[0]
    arguments = fill_template(count.with_, {"inputs": spec.example})
    for name, content in arguments["files"].items():
        (tmp_path / name).write_text(content, "utf-8")
    ran = subprocess.run([sys.executable, "-c", arguments["code"]], cwd=tmp_path, capture_output=True, check=True)
    steps = {"count": {"output": json.loads(ran.stdout)}}
    assert evaluate_condition(spec.steps[1].when, {"inputs": spec.example, "steps": steps})
    assert "4 changes, the first is: Runs can be paused" in fill_template(spec.steps[1].think, {"steps": steps})
    skipped = fill_template(spec.deliverable.value, {"inputs": spec.example, "steps": steps})
    assert skipped["note"] == "The release brings nothing."
    thought = {"say": {"output": {"note": "Runs can be paused."}}}
    output = fill_template(spec.deliverable.value, {"inputs": spec.example, "steps": steps | thought})
    assert output == {"note": "Runs can be paused.", "kinds": {"breaking": 1, "feature": 2, "fix": 1}, "breaking": True}
    assert all(
        evaluate_condition(condition, {"output": output, "inputs": spec.example})
        for condition in spec.deliverable.accept
    )


@pytest.mark.parametrize(("name", "text"), blocks("json"), ids=lambda value: value[:20])
def test_json_in_a_document_is_json(name, text):
    json.loads(text)


@pytest.mark.parametrize(("name", "text"), blocks("yaml"), ids=lambda value: value[:20])
def test_yaml_in_a_document_is_yaml(name, text):
    list(yaml.safe_load_all(text))


def test_commands_in_documents_exist():
    """Every `somagent …` in a shell example is a command, and its long options are ones that it has."""
    wrong = []
    for name, text in blocks("sh"):
        joined = text.replace("\\\n", " ")
        for line in re.findall(r"(?:^|\(|\| )somagent ([^\n|)#]+)", joined, re.MULTILINE):
            command, words = get_command(cli), line.split()
            while words and hasattr(command, "commands") and words[0] in command.commands:
                command = command.commands[words.pop(0)]
            if hasattr(command, "commands"):
                wrong.append(f"{name}: somagent {line}: there is no such command")
                continue
            known = {option for parameter in command.params for option in parameter.opts}
            strangers = [word for word in words if word.startswith("--") and word.partition("=")[0] not in known]
            wrong += [f"{name}: somagent {line}: {word}" for word in strangers]
    assert wrong == []


def test_the_picture_of_the_architecture_names_what_is_there():
    named = re.findall(r'data-path="([^"]+)"', (ROOT / "docs" / "architecture.svg").read_text("utf-8"))
    assert len(named) > 40
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_path_in_a_document_exists():
    path = re.compile(rf"`((?:{'|'.join(PACKAGES)}|deploy|docs|tests)/[\w./-]*(?:\.\w+|/))`")
    texts = {name: (ROOT / name).read_text("utf-8") for name in DOCUMENTS}
    # The map of decision 0015 translates names that are gone.
    wrong = [
        f"{name}: {found}"
        for name, text in texts.items()
        if "/0015-" not in name
        for found in path.findall(text)
        if not (ROOT / found).exists() and "NNNN" not in found
    ]
    assert wrong == []


def test_the_map_of_modules_leads_to_modules_that_are_there():
    text = (ROOT / "docs/decisions/0015-standard-names-and-subject-folders.md").read_text("utf-8")
    rows = [line.split("|")[2] for line in text.partition("## Classes")[0].splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`((?:\w+\.)*\w+)(?:\.\*)?`", row)}
    assert len(named) > 150
    paths = {name: ROOT / name.replace(".", "/") for name in named if name.partition(".")[0] in PACKAGES}
    assert (
        sorted(name for name, path in paths.items() if not path.with_suffix(".py").exists() and not path.is_dir()) == []
    )


def test_every_event_that_is_written_is_documented_and_the_other_way_round():
    sql = [file.read_text("utf-8") for file in sorted((ROOT / "somagent/db/schema/sql").glob("*.sql"))]
    python = [file.read_text("utf-8") for file in python_files("somagent/db", "api")]
    written = {kind for text in sql for kind in re.findall(r"event_add\([^,]+, '([a-z.]+)'", text)}
    written |= {kind for text in python for kind in re.findall(r'\.(?:add|_publish)\("[a-z.]+", "([a-z.]+)"', text)}
    assert written == TYPES.keys() - {"token"}
    document = (ROOT / "docs" / "events.md").read_text("utf-8")
    assert [
        topic for topic in get_args(Topic) if f"`{topic}`" not in document.partition("Every topic there is")[0]
    ] == []
