"""`somagent capsule`: check, publish, list and show capsules."""

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from capsules.capsule import Capsule
from capsules.errors import SomaError
from somagent.capsule_files.document import load
from somagent.cli import output
from somagent.cli.connection import Api, sentences
from somagent.cli.exit_codes import BY_STATUS, Code
from somagent.cli.formatting import clock, table
from somagent.cli.options import As, Json, Limit

app = typer.Typer(no_args_is_help=True, help="Check, publish, list and show capsules.")
Files = Annotated[list[Path], typer.Argument(metavar="FILE…", help="Capsule files, YAML or JSON.")]
Offline = Annotated[bool, typer.Option("--offline", help="Check the form only, without the API.")]


def register(to: typer.Typer) -> None:
    to.add_typer(app, name="capsule")


@app.command()
def validate(files: Files, offline: Offline = False, principal: As = None, json: Json = False) -> None:
    """Check files: every problem at once, with line, path and what was expected."""
    checked: list[dict[str, Any]] = []
    for file in files:
        text = _read(file)
        capsule = _load(text, file, json=json)
        if not offline:
            with Api(principal=principal, json=json) as api:
                api.send_file("/v1/capsules/validate", text, filename=file.name)
        checked.append({"file": str(file), "ref": capsule.ref, "digest": capsule.digest()})
    if json:
        output.emit(checked)
        return
    for one in checked:
        output.console().print(f"{one['file']}: {one['ref']} is valid, {one['digest']}", markup=False, soft_wrap=True)


@app.command()
def publish(files: Files, principal: As = None, json: Json = False) -> None:
    """Publish files. A version is immutable: the same file again changes nothing."""
    published: list[dict[str, Any]] = []
    with Api(principal=principal, json=json) as api:
        for file in files:
            text = _read(file)
            _load(text, file, json=json)
            published.append(api.send_file("/v1/capsules", text, filename=file.name))
    if json:
        output.emit(published)
        return
    for one in published:
        output.console().print(f"{_ref(one)}  {one['digest']}", markup=False, soft_wrap=True)


@app.command("list")
def list_capsules(limit: Limit = 100, principal: As = None, json: Json = False) -> None:
    """List every published version."""
    with Api(principal=principal, json=json) as api:
        items = api.all("/v1/capsules", most=limit)
    if json:
        output.emit(items)
        return
    shown = table("capsule", "type", "summary", "published")
    for item in items:
        capsule = item["capsule"]
        shown.add_row(_ref(item), capsule["spec"]["type"], capsule["metadata"]["summary"], clock(item["published_at"]))
    output.console().print(shown)


@app.command()
def show(
    capsule: Annotated[str, typer.Argument(metavar="CAPSULE", help="`name`, `name@1` or `name@1.2.0`.")],
    principal: As = None,
    json: Json = False,
) -> None:
    """Show a published capsule as a file."""
    with Api(principal=principal, json=json) as api:
        found = api.get(f"/v1/capsules/{capsule}")
    if json:
        output.emit(found)
        return
    console = output.console()
    console.print(f"# {_ref(found)}  {found['digest']}", markup=False, soft_wrap=True)
    console.print(
        f"# signed by key {found['key_id']}, published by {found['published_by']}", markup=False, soft_wrap=True
    )
    console.print(_as_file(found["capsule"]), markup=False, soft_wrap=True)


def _as_file(capsule: dict[str, Any]) -> str:
    """Write a capsule as YAML without what is only a default."""
    parsed = Capsule.model_validate(capsule, by_alias=True, by_name=False)
    short = parsed.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return yaml.safe_dump(short, sort_keys=False, allow_unicode=True, width=110)


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        output.fail(f"{str(file)!r} cannot be read: {error}", code=Code.USAGE)


def _load(text: str, file: Path, *, json: bool) -> Capsule:
    """Return the capsule of a file, or end the command with its problems, written as the API writes them."""
    try:
        return load(text, filename=file.name)
    except SomaError as error:
        problem = {"code": error.code, "detail": error.message, "problems": error.fields.get("problems", [])}
        if json:
            output.emit({"problem": problem})
        output.fail(sentences(problem), code=BY_STATUS.get(error.status, Code.RUN_FAILED))


def _ref(published: dict[str, Any]) -> str:
    metadata = published["capsule"]["metadata"]
    return f"{metadata['name']}@{metadata['version']}"
