"""`somagent audit` and `evidence`: list changes, export evidence, check records by keys that are not the API's."""

import json as json_format
from pathlib import Path
from typing import Annotated, Any

import typer

from capsules.audit.auditor import VerificationError
from capsules.audit.evidence import REDACTIONS
from capsules.errors import Invalid
from somagent.cli import output
from somagent.cli.audit_check import audit_bundle, audit_run, audit_tenant, keys_of
from somagent.cli.command import LimitOption, RunArgument, command, group
from somagent.cli.connection import Api, JsonValue, run_path
from somagent.cli.exit_codes import Code
from somagent.cli.output import Lines, clock, rows

app = group("audit", "List changes, and check that nothing recorded was altered.")
evidence = group("evidence", "Hand over the evidence of a run.")

OneRunArgument = Annotated[
    str | None, typer.Argument(metavar="[RUN]", help="One run only. Unset: the whole record of the tenant.")
]
HistoryOption = Annotated[
    Path | None,
    typer.Option(
        "--history",
        exists=True,
        dir_okay=False,
        help="The run's Temporal history, from `temporal workflow show --output json`: every governed activity of it "
        "has its receipt, and every receipt its activity.",
    ),
]
KeysOption = Annotated[
    Path | None,
    typer.Option(
        "--keys",
        exists=True,
        file_okay=False,
        help="Directory of the sealer's public keys (`sealer-1.pub`) as given to you. Unset: those of this home.",
    ),
]
AnchorsOption = Annotated[
    Path | None,
    typer.Option(
        "--anchors",
        exists=True,
        dir_okay=False,
        help="File of anchored blocks. Unset: that of this home, if there is one.",
    ),
]
BundleOption = Annotated[
    Path | None,
    typer.Option(
        "--bundle",
        exists=True,
        dir_okay=False,
        help="Archive of `somagent evidence export`. It is checked offline and needs only the keys.",
    ),
]


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    details = json_format.dumps(one["body"].get("details", {}), ensure_ascii=False)
    return str(one["id"]), clock(one["at"]), one["actor"], one["action"], one["subject"], details


def _lines(found: dict[str, Any]) -> Lines:
    yield "[green]The record holds.[/]"
    for name, value in found.items():
        if name not in {"holds", "keys"}:
            yield f"  {name.replace('_', ' '):<22}{value}"
    yield f"  {'sealed by keys':<22}{found['keys']}"


@command(app, "list", text=rows("id", "when", "who", "did", "to", "details", row=_row))
def list_entries(
    api: Api,
    action: Annotated[str | None, typer.Option("--action", help="Only this action: capsule.published.")] = None,
    subject: Annotated[str | None, typer.Option("--subject", help="Only this subject.")] = None,
    limit: LimitOption = 50,
) -> JsonValue:
    """List changes of what governs runs, newest first."""
    return api.all("/v1/audit/entries", most=limit, action=action, subject=subject)


@command(app, text=_lines)
def verify(  # noqa: PLR0913, PLR0917 - an option for each thing that an auditor brings
    api: Api,
    run: OneRunArgument = None,
    history: HistoryOption = None,
    keys: KeysOption = None,
    anchors: AnchorsOption = None,
    bundle: BundleOption = None,
) -> JsonValue:
    """Recompute the record: signatures, chains, gaps, inclusion, anchors. Exit code 11: the first bad item is named."""
    if history is not None and run is None:
        output.fail("--history is of one run: name it, `somagent audit verify RUN --history FILE`.", code=Code.USAGE)
    if bundle is not None and (run is not None or anchors is not None):
        output.fail("--bundle is checked by itself, with --keys alone.", code=Code.USAGE)
    try:
        if bundle is not None:
            found, origin = audit_bundle(bundle, keys)
        else:
            sealer, origin = keys_of("sealer", keys, api)
            found = audit_tenant(api, sealer, anchors) if run is None else audit_run(api, run, sealer, _read(history))
    except VerificationError as problem:
        if api.json:
            output.emit({"holds": False, "problem": str(problem)})
        output.fail(str(problem), code=Code.UNSOUND)
    return {"holds": True, "keys": origin, **found}


@command(app, "keys", json=False)
def write_keys(
    api: Api,
    into: Annotated[
        Path, typer.Option("--output", "-o", file_okay=False, help="Directory to write the public keys to.")
    ] = Path("somagent-keys"),
) -> None:
    """Write the public keys that check the record. Give them to an auditor over a channel that you trust."""
    keys = api.get("/v1/audit/keys")["keys"]
    into.mkdir(parents=True, exist_ok=True)
    for key_id, pem in keys.items():
        file = into / f"{key_id.rpartition('-')[0]}.pub"
        file.write_text(pem)
        output.show([f"{file}  {key_id}"])


@command(evidence, json=False)
def export(
    api: Api,
    run: RunArgument,
    into: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", dir_okay=False, help="File to write. Unset: RUN.evidence.zip in this directory."
        ),
    ] = None,
    redact: Annotated[
        list[str] | None,
        typer.Option("--redact", help=f"Leave this out; may be repeated: {', '.join(REDACTIONS)}."),
    ] = None,
    children: Annotated[
        bool, typer.Option(help="Include the evidence of each child run of a composite, each in its own folder.")
    ] = True,
) -> None:
    """Export one signed archive. Check it with: somagent audit verify --bundle FILE --keys DIR."""
    output.require_known("--redact", redact, REDACTIONS)
    file = into or Path(run.replace("/", "-") + ".evidence.zip")
    data = api.fetch(run_path(run, "evidence"), redact=redact or [], children=children)
    file.write_bytes(data)
    output.show([f"Written: {file} ({len(data):,} bytes)"])


def _read(history: Path | None) -> dict[str, Any] | None:
    if history is None:
        return None
    try:
        read = json_format.loads(history.read_text("utf-8"))
    except ValueError as error:
        raise Invalid(f"{str(history)!r} is not JSON: {error}") from error
    return read if isinstance(read, dict) else {}
