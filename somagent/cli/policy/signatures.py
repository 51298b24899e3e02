"""`somagent policy sign`: add a key's signature beside a constitution's file. Key and file stay on this machine."""

import json as json_format
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from capsules.digest import digest
from somagent.cli import output
from somagent.cli.command import command, group
from somagent.cli.connection import Api, JsonValue
from somagent.cli.exit_codes import Code
from somagent.cli.output import Lines
from somagent.cli.policy.sources import ACTIVE, from_file, source
from somagent.identity.keys import KeyRing
from somagent.identity.signatures import sign_digest

app = group()
BASE = f"For an overlay: the constitution that it is applied to. A file, `{ACTIVE}` for the one in force, or a digest."


def _lines(made: dict[str, Any]) -> Lines:
    count = len(made["signatures"])
    yield escape(f"{made['signatures'][-1]['key_id']} signed {made['digest']}")
    yield escape(f"{made['file']} holds {count} signature{'' if count == 1 else 's'}")


@command(app, text=_lines)
def sign(
    api: Api,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A constitution or an overlay, YAML or JSON.")],
    keys: Annotated[
        Path | None, typer.Option("--keys", metavar="DIR", help="Directory with your key. Unset: the local stack's.")
    ] = None,
    overlay: Annotated[
        list[Path] | None, typer.Option("--overlay", help="File of another overlay. May be repeated.")
    ] = None,
    base: Annotated[str, typer.Option("--base", help=BASE)] = ACTIVE,
) -> JsonValue:
    """Sign with the newest constitution key and add it to FILE.sig.json. With overlays, the result is signed."""
    found, over = from_file(file), [from_file(one) for one in overlay or ()]
    if found.kind == "Overlay":
        found, over = source(base, api), [found, *over]
    document = found.document
    if over:
        from somagent.cli.policy.reviews import effective  # noqa: PLC0415 - Z3 takes half a second to load

        document = effective(found, over)
    made = digest(document)
    signed = sign_digest(KeyRing.load(keys or api.settings.keys_dir), "constitution", made)
    beside = signature_file(file)
    signatures = [one for one in signatures_of(beside, made) if one["key_id"] != signed.key_id]
    signatures.append({"key_id": signed.key_id, "signature": signed.value})
    written = {"digest": made, "signatures": signatures}
    beside.write_text(json_format.dumps(written, indent=1) + "\n", "utf-8")
    return {"file": str(beside), **written}


def signature_file(file: Path) -> Path:
    """Return the file of signatures beside a constitution's file."""
    return file.with_name(f"{file.name}.sig.json")


def signatures_of(beside: Path, made: str) -> list[dict[str, str]]:
    """Return what a file of signatures holds for this digest. Ends the command when it is for another document."""
    if not beside.exists():
        return []
    try:
        kept: dict[str, Any] = json_format.loads(beside.read_text("utf-8"))
        signed, signatures = kept["digest"], list(kept["signatures"])
    except (ValueError, KeyError, TypeError, OSError) as error:
        output.fail(f"{str(beside)!r} holds no signatures: {error!r}. Remove it and sign again.", code=Code.INVALID)
    if signed != made:
        output.fail(
            f"{str(beside)!r} signs {signed}, and the document is {made} now. Remove it; everybody signs again.",
            code=Code.CONFLICT,
        )
    return signatures
