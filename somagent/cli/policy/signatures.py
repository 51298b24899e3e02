"""Command `somagent policy sign`: sign a constitution's file with a key, both of which stay on this machine."""

import json as json_format
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from rich.markup import escape
from typer import Argument, Option

from capsules.digest import digest
from somagent.cli import output
from somagent.cli.command import command, group
from somagent.cli.connection import Api, JsonValue
from somagent.cli.exit_codes import Code
from somagent.cli.output import Lines
from somagent.cli.policy.sources import ACTIVE, WHICH, OverlayOption, Source, from_file, source
from somagent.identity.keys import KeyRing
from somagent.identity.signatures import sign_digest

app = group()


def _lines(made: dict[str, Any]) -> Lines:
    count = len(made["signatures"])
    yield escape(f"{made['signatures'][-1]['key_id']} signed {made['digest']}")
    yield escape(f"{made['file']} now has {count} signature{'' if count == 1 else 's'}")


@command(app, text=_lines)
def sign(
    api: Api,
    file: Annotated[Path, Argument(metavar="FILE", help="A constitution or an overlay, YAML or JSON.")],
    keys: Annotated[Path | None, Option(metavar="DIR", help="Directory of your key. Unset: the local stack's.")] = None,
    overlay: OverlayOption = None,
    base: Annotated[str, Option(help=f"The constitution that an overlay is applied to. {WHICH}")] = ACTIVE,
) -> JsonValue:
    """Sign a file with your newest key and add the signature to FILE.sig.json. With overlays, sign the result."""
    found, over = from_file(file), [from_file(one) for one in overlay or ()]
    if found.kind == "Overlay":
        found, over = source(base, api), [found, *over]
    current = digest(apply_overlays(found, over))
    signed = sign_digest(KeyRing.load(keys or api.settings.keys_dir), "constitution", current)
    beside = signature_file(file)
    signatures = [one for one in signatures_of(beside, current) if one["key_id"] != signed.key_id]
    signatures.append({"key_id": signed.key_id, "signature": signed.value})
    result = {"digest": current, "signatures": signatures}
    beside.write_text(json_format.dumps(result, indent=1) + "\n", "utf-8")
    return {"file": str(beside), **result}


def apply_overlays(found: Source, over: Sequence[Source]) -> dict[str, Any]:
    """Return a constitution's document with its overlays applied. Raises Invalid with every problem and its place."""
    if not over:
        return found.document
    from somagent.cli.policy.reviews import effective  # noqa: PLC0415 - Z3 takes half a second to import

    return effective(found, over)


def signature_file(file: Path) -> Path:
    """Return the file of signatures beside a constitution's file."""
    return file.with_name(f"{file.name}.sig.json")


def signatures_of(beside: Path, current: str) -> list[dict[str, str]]:
    """Return the signatures in a file. Ends the command when they are for another digest than `current`."""
    if not beside.exists():
        return []
    try:
        kept: dict[str, Any] = json_format.loads(beside.read_text("utf-8"))
        signed, signatures = kept["digest"], list(kept["signatures"])
    except (ValueError, KeyError, TypeError, OSError) as error:
        output.fail(f"{str(beside)!r} holds no signatures: {error!r}. Remove it and sign again.", code=Code.INVALID)
    if signed != current:
        output.fail(
            f"{str(beside)!r} signs {signed}, and the document is {current} now. Remove it; everybody signs again.",
            code=Code.CONFLICT,
        )
    return signatures
