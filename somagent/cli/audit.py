"""Commands `somagent audit` and `evidence`: list audit entries, verify the audit record, export evidence."""

import json as json_format
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from capsules.audit.auditor import VerificationError
from capsules.audit.evidence import REDACTIONS
from capsules.errors import Invalid
from capsules.runs.url import run_path
from somagent.cli import output
from somagent.cli.audit_check import audit_bundle, audit_run, audit_tenant, load_keys
from somagent.cli.command import LimitOption, RunArgument, command, group
from somagent.cli.connection import Api, JsonValue
from somagent.cli.exit_codes import Code
from somagent.cli.output import Lines, local_time, table

app = group("audit", "List audit entries, and verify that no record was altered.")
evidence = group("evidence", "Export the evidence of a run.")

OneRunArgument = Annotated[str | None, Argument(metavar="RUN", help="Check only this run. Unset: the whole tenant.")]
HistoryOption = Annotated[
    Path | None,
    Option(
        "--history",
        exists=True,
        dir_okay=False,
        help="The run's history from `temporal workflow show --output json`: check that governed activities and "
        "receipts match.",
    ),
]
KeysOption = Annotated[
    Path | None,
    Option(
        "--keys",
        exists=True,
        file_okay=False,
        help="Directory of the public keys (`sealer-1.pub`) that you were given. Unset: those of SOMAGENT_HOME.",
    ),
]
AnchorsOption = Annotated[
    Path | None,
    Option(
        "--anchors",
        exists=True,
        dir_okay=False,
        help="File of anchored blocks. Unset: that of SOMAGENT_HOME, if there is one.",
    ),
]
BundleOption = Annotated[
    Path | None,
    Option(
        "--bundle",
        exists=True,
        dir_okay=False,
        help="Check this archive of `somagent evidence export` instead, offline, with the keys.",
    ),
]


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    details = json_format.dumps(one["body"].get("details", {}), ensure_ascii=False)
    return str(one["id"]), local_time(one["at"]), one["actor"], one["action"], one["subject"], details


def _lines(found: dict[str, Any]) -> Lines:
    yield "[green]The record is complete and unaltered.[/]"
    for name, value in found.items():
        if name not in {"holds", "keys"}:
            yield f"  {name.replace('_', ' '):<22}{value}"
    yield f"  {'blocks signed by keys':<22}{found['keys']}"


@command(app, "list", text=table("id", "when", "who", "did", "to", "details", row=_row))
def list_entries(
    api: Api,
    action: Annotated[str | None, Option(help="Only this action, such as capsule.published.")] = None,
    subject: Annotated[str | None, Option(help="Only this subject.")] = None,
    limit: LimitOption = 50,
) -> JsonValue:
    """List audit entries, the changes of what governs runs, newest first."""
    return api.list_items("/v1/audit/entries", most=limit, action=action, subject=subject)


@command(app, text=_lines)
def verify(  # noqa: PLR0913, PLR0917 - the command line's own options
    api: Api,
    run: OneRunArgument = None,
    history: HistoryOption = None,
    keys: KeysOption = None,
    anchors: AnchorsOption = None,
    bundle: BundleOption = None,
) -> JsonValue:
    """Verify the audit record: signatures, hash chains, gaps, inclusion and anchors. Exit code 11 for a bad item."""
    if history is not None and run is None:
        output.fail("--history is for one run: somagent audit verify RUN --history FILE.", code=Code.USAGE)
    if bundle is not None and (run is not None or anchors is not None):
        output.fail("--bundle goes with --keys only.", code=Code.USAGE)
    try:
        if bundle is not None:
            found, origin = audit_bundle(bundle, keys)
        else:
            sealer, origin = load_keys("sealer", keys, api)
            issuer, _ = load_keys("issuer", keys, api)
            found = (
                audit_tenant(api, sealer, issuer, anchors)
                if run is None
                else audit_run(api, run, sealer, issuer, _read_history(history))
            )
    except VerificationError as problem:
        if api.json:
            output.emit({"holds": False, "problem": str(problem)})
        output.fail(str(problem), code=Code.UNSOUND)
    return {"holds": True, "keys": origin, **found}


@command(app, "keys", json=False)
def write_keys(
    api: Api,
    into: Annotated[
        Path, Option("--output", "-o", file_okay=False, help="Directory to write the public keys to.")
    ] = Path("somagent-keys"),
) -> None:
    """Write the public keys that verify the audit record. Give them to an auditor over a channel that you trust."""
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
        Path | None, Option("--output", "-o", dir_okay=False, help="File to write. Unset: RUN.evidence.zip.")
    ] = None,
    redact: Annotated[
        list[str] | None, Option(metavar="NAME", help=f"Leave out {', '.join(REDACTIONS)}. Repeatable.")
    ] = None,
    children: Annotated[bool, Option(help="Include the evidence of child runs, each in its own folder.")] = True,
) -> None:
    """Export the evidence of a run as one signed archive. Check it with: somagent audit verify --bundle FILE."""
    output.require_known("--redact", redact, REDACTIONS)
    file = into or Path(run.replace("/", "-") + ".evidence.zip")
    data = api.fetch(run_path(run, "evidence"), redact=redact or [], children=children)
    file.write_bytes(data)
    output.show([f"Written: {file} ({len(data):,} bytes)"])


def _read_history(history: Path | None) -> dict[str, Any] | None:
    if history is None:
        return None
    try:
        found = json_format.loads(history.read_text("utf-8"))
    except ValueError as error:
        raise Invalid(f"{str(history)!r} is not JSON: {error}") from error
    return found if isinstance(found, dict) else {}
