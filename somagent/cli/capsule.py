"""Commands `somagent capsule`: validate, publish, list and show capsules."""

from pathlib import Path
from typing import Annotated, Any

import yaml
from rich.markup import escape
from typer import Argument, Option

from capsules.capsule import Capsule
from somagent.capsule_files.document import load
from somagent.cli import output
from somagent.cli.command import LimitOption, command, group
from somagent.cli.connection import Api, JsonValue
from somagent.cli.output import Lines, local_time, table

PATH = "/v1/capsules"
app = group("capsule", "Validate, publish, list and show capsules.")
FilesArgument = Annotated[list[Path], Argument(metavar="FILE", help="Capsule files, YAML or JSON.")]


def _ref(published: dict[str, Any]) -> str:
    metadata = published["capsule"]["metadata"]
    return f"{metadata['name']}@{metadata['version']}"


def _row(item: dict[str, Any]) -> tuple[str, ...]:
    capsule = item["capsule"]
    return _ref(item), capsule["spec"]["type"], capsule["metadata"]["summary"], local_time(item["published_at"])


def _lines(found: dict[str, Any]) -> Lines:
    """Yield a capsule as YAML without default values, after two lines about its version."""
    capsule = Capsule.model_validate(found["capsule"], by_alias=True, by_name=False)
    document = capsule.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    yield escape(f"# {_ref(found)}  {found['digest']}")
    yield escape(f"# signed by key {found['key_id']}, published by {found['published_by']}")
    yield escape(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110))


@command(app, text=lambda checked: [escape(f"{c['file']}: {c['ref']} is valid, {c['digest']}") for c in checked])
def validate(
    api: Api,
    files: FilesArgument,
    offline: Annotated[bool, Option("--offline", help="Check the syntax and fields only, without the API.")] = False,
) -> JsonValue:
    """Check files. Every problem is listed, with its line, its path and what was expected."""
    checked = []
    for file in files:
        text = output.read_file(file)
        capsule = load(text, filename=file.name)
        if not offline:
            api.send_file(f"{PATH}/validate", text, filename=file.name)
        checked.append({"file": str(file), "ref": capsule.ref, "digest": capsule.digest()})
    return checked


@command(app, text=lambda published: [escape(f"{_ref(one)}  {one['digest']}") for one in published])
def publish(api: Api, files: FilesArgument) -> JsonValue:
    """Publish files. A version cannot be changed; publishing the same file again has no effect."""
    published = []
    for file in files:
        text = output.read_file(file)
        load(text, filename=file.name)
        published.append(api.send_file(PATH, text, filename=file.name))
    return published


@command(app, "list", text=table("capsule", "type", "summary", "published", row=_row))
def list_capsules(api: Api, limit: LimitOption = 100) -> JsonValue:
    """List the published capsules, every version."""
    return api.list_items(PATH, most=limit)


@command(app, text=_lines)
def show(
    api: Api, capsule: Annotated[str, Argument(metavar="CAPSULE", help="`name`, `name@1` or `name@1.2.0`.")]
) -> JsonValue:
    """Show a published capsule as YAML, with its digest and its signature."""
    return api.get(f"{PATH}/{capsule}")
