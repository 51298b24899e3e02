"""`somagent policy sign`: put a key's signature beside a constitution's file. Key and file stay on this machine."""

import json as jsontext
from pathlib import Path
from typing import Annotated, Any

import typer

from capsules.digest import Digest, digest
from capsules.errors import SomaError
from somagent.cli import output
from somagent.cli.exit_codes import Code
from somagent.cli.options import As, Json
from somagent.cli.policy_sources import ACTIVE, Source, from_file, refuse, refusing, source
from somagent.identity.keys import KeyRing
from somagent.identity.signatures import sign_digest
from somagent.settings import Settings

BASE = f"For an overlay: what it is laid over. A file, `{ACTIVE}` for the one in force, or a digest."


def register(to: typer.Typer) -> None:
    to.command()(sign)


def sign(  # noqa: PLR0913, PLR0917 - the command line's own options
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A constitution or an overlay, YAML or JSON.")],
    keys: Annotated[
        Path | None, typer.Option("--keys", metavar="DIR", help="Directory with your key. Unset: the local stack's.")
    ] = None,
    overlay: Annotated[
        list[Path] | None, typer.Option("--overlay", help="A further overlay's file. May be given again.")
    ] = None,
    base: Annotated[str, typer.Option("--base", help=BASE)] = ACTIVE,
    principal: As = None,
    json: Json = False,
) -> None:
    """Sign with the newest constitution key and add it to FILE.sig.json. Of overlays, what they make is signed."""
    found = from_file(file, json=json)
    over = [from_file(one, json=json) for one in overlay or ()]
    document = found.document
    if found.kind == "Overlay" or over:
        below = source(base, principal=principal, json=json) if found.kind == "Overlay" else found
        document = _laid_over(below, [found, *over] if found.kind == "Overlay" else over, json=json)
    made = digest(document)
    try:
        signed = sign_digest(KeyRing.load(keys or Settings().keys_dir), "constitution", made)
    except SomaError as error:
        refuse(error, json=json)
    beside = file.with_name(f"{file.name}.sig.json")
    signatures = [one for one in signatures_of(beside, made) if one["key_id"] != signed.key_id]
    signatures.append({"key_id": signed.key_id, "signature": signed.value})
    written = {"digest": made, "signatures": signatures}
    beside.write_text(jsontext.dumps(written, indent=1) + "\n", "utf-8")
    if json:
        output.emit({"file": str(beside), **written})
        return
    console = output.console()
    console.print(f"{signed.key_id} signed {made}", markup=False, soft_wrap=True)
    console.print(
        f"{beside} holds {len(signatures)} signature{'s'[: len(signatures) != 1]}", markup=False, soft_wrap=True
    )


def signatures_of(beside: Path, made: Digest) -> list[dict[str, str]]:
    """Return what a file of signatures holds for this digest. Ends the command when it is for another document."""
    if not beside.exists():
        return []
    try:
        kept: dict[str, Any] = jsontext.loads(beside.read_text("utf-8"))
        signed, signatures = kept["digest"], list(kept["signatures"])
    except (ValueError, KeyError, TypeError, OSError) as error:
        output.fail(f"{str(beside)!r} holds no signatures: {error!r}. Remove it and sign again.", code=Code.INVALID)
    if signed != made:
        output.fail(
            f"{str(beside)!r} signs {signed}, and the document is {made} now. Remove it; everybody signs again.",
            code=Code.CONFLICT,
        )
    return signatures


def _laid_over(base: Source, overlays: list[Source], *, json: bool) -> dict[str, Any]:
    from policy.prove.overlay import merged  # noqa: PLC0415 - Z3 takes half a second to load

    with refusing(base, *overlays, json=json):
        return merged(base.document, [one.document for one in overlays])
