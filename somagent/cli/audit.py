"""`somagent audit`: list what was changed, and check the whole record here, by keys that are not the API's."""

import json as json_format
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from capsules.audit.auditor import VerificationError
from capsules.errors import Invalid
from somagent.cli import output
from somagent.cli.audit_check import audit_bundle, audit_run, audit_tenant, keys_of
from somagent.cli.connection import Api
from somagent.cli.exit_codes import Code
from somagent.cli.formatting import clock, table
from somagent.cli.options import As, Json, Limit

app = typer.Typer(no_args_is_help=True, help="List changes, and check that nothing recorded was altered.")

OneRun = Annotated[
    str | None, typer.Argument(metavar="[RUN]", help="One run only; without: the tenant's whole record.")
]
History = Annotated[
    Path | None,
    typer.Option(
        "--history",
        exists=True,
        dir_okay=False,
        help="The run's Temporal history, from `temporal workflow show --output json`: every governed activity of it "
        "has its receipt, and every receipt its activity.",
    ),
]
Keys = Annotated[
    Path | None,
    typer.Option(
        "--keys",
        exists=True,
        file_okay=False,
        help="Directory of the sealer's public keys (`sealer-1.pub`) as you were given them. Without: this home's.",
    ),
]
Anchors = Annotated[
    Path | None,
    typer.Option(
        "--anchors", exists=True, dir_okay=False, help="File of anchored blocks. Without: this home's, where it is."
    ),
]


Bundle = Annotated[
    Path | None,
    typer.Option(
        "--bundle",
        exists=True,
        dir_okay=False,
        help="Evidence that `somagent evidence export` wrote: checked offline, with nothing but the keys.",
    ),
]


def register(to: typer.Typer) -> None:
    to.add_typer(app, name="audit")


@app.command("list")
def list_entries(
    action: Annotated[str | None, typer.Option("--action", help="Only this action: capsule.published.")] = None,
    subject: Annotated[str | None, typer.Option("--subject", help="Only this subject.")] = None,
    limit: Limit = 50,
    principal: As = None,
    json: Json = False,
) -> None:
    """List changes of what decides over runs, newest first."""
    with Api(principal=principal, json=json) as api:
        items = api.all("/v1/audit/entries", most=limit, action=action, subject=subject)
    if json:
        output.emit(items)
        return
    shown = table("id", "when", "who", "did", "to", "details")
    for one in items:
        details = json_format.dumps(one["body"].get("details", {}), ensure_ascii=False)
        shown.add_row(str(one["id"]), clock(one["at"]), one["actor"], one["action"], one["subject"], details)
    output.console().print(shown)


@app.command()
def verify(  # noqa: PLR0913, PLR0917 - an option for each thing that an auditor brings
    run: OneRun = None,
    history: History = None,
    keys: Keys = None,
    anchors: Anchors = None,
    bundle: Bundle = None,
    principal: As = None,
    json: Json = False,
) -> None:
    """Recompute the record: signatures, chains, gaps, inclusion, anchors. Code 11 names the first bad item."""
    if history is not None and run is None:
        output.fail("--history is of one run: name it, `somagent audit verify RUN --history FILE`.", code=Code.USAGE)
    if bundle is not None and (run is not None or anchors is not None):
        output.fail("--bundle is checked by itself, with --keys alone.", code=Code.USAGE)
    try:
        if bundle is not None:
            found, of = audit_bundle(bundle, keys)
        else:
            with Api(principal=principal, json=json) as api:
                checks, of = keys_of("sealer", keys, api)
                found = (
                    audit_tenant(api, checks, anchors, quiet=json)
                    if run is None
                    else audit_run(api, run, checks, _read(history))
                )
    except VerificationError as problem:
        _unsound(str(problem), json=json)
    except Invalid as error:
        output.fail(error.message, code=Code.INVALID)
    if json:
        output.emit({"holds": True, "keys": of, **dict(found)})
        return
    to = output.console()
    to.print("[green]The record holds.[/]")
    for name, value in found:
        to.print(f"  {name.replace('_', ' '):<22}{value}", soft_wrap=True)
    to.print(f"  {'sealed by keys':<22}{of}", soft_wrap=True)


@app.command("keys")
def write_keys(
    into: Annotated[
        Path, typer.Option("--output", "-o", file_okay=False, help="Directory to write the public keys to.")
    ] = Path("somagent-keys"),
    principal: As = None,
) -> None:
    """Write the public keys that check the record, to give to an auditor by a way that you trust."""
    with Api(principal=principal) as api:
        keys = api.get("/v1/audit/keys")["keys"]
    into.mkdir(parents=True, exist_ok=True)
    for key_id, pem in keys.items():
        file = into / f"{key_id.rpartition('-')[0]}.pub"
        file.write_text(pem)
        output.console().print(f"{file}  {key_id}", soft_wrap=True)


def _unsound(problem: str, *, json: bool) -> NoReturn:
    if json:
        output.emit({"holds": False, "problem": problem})
    output.fail(problem, code=Code.UNSOUND)


def _read(history: Path | None) -> dict[str, Any] | None:
    if history is None:
        return None
    try:
        read = json_format.loads(history.read_text("utf-8"))
    except ValueError as error:
        raise Invalid(f"{str(history)!r} is not JSON: {error}") from error
    return read if isinstance(read, dict) else {}
