"""`somagent policy activate`, `rollback`, `approve`, `reject`: change which constitution counts, in full view."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from capsules.constitutions.proposal import SETTLED
from capsules.digest import digest
from somagent.cli import output
from somagent.cli.connection import Api
from somagent.cli.exit_codes import Code
from somagent.cli.options import As, Json, Key
from somagent.cli.policy_output import outcome
from somagent.cli.policy_sign import signatures_of
from somagent.cli.policy_sources import DIGEST, from_file

PATH = "/v1/constitutions"
EVERY_SECONDS = 0.3
Tenant = Annotated[
    str | None, typer.Option("--tenant", help="For this tenant alone: a canary. Unset: for whom you may change it.")
]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for the people who must approve it, too.")]
Activation = Annotated[str, typer.Argument(metavar="ACTIVATION", help="An activation's id, as `activate` says it.")]
Comment = Annotated[str, typer.Option("--comment", help="Why, for the record.")]


def register(to: typer.Typer) -> None:
    for command in (activate, rollback, approve, reject):
        to.command()(command)


def activate(  # noqa: PLR0913, PLR0917 - the command line's own options
    constitution: Annotated[
        str, typer.Argument(metavar="CONSTITUTION", help="A file, signed by `policy sign`, or a digest.")
    ],
    overlay: Annotated[
        list[Path] | None, typer.Option("--overlay", help="An overlay's file, laid over it. May be given again.")
    ] = None,
    tenant: Tenant = None,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="Only judge beside the active one, and count the differences.")
    ] = False,
    wait: Wait = False,
    key: Key = None,
    principal: As = None,
    json: Json = False,
) -> None:
    """Have a constitution proved, compared, approved and made the active one. Code 10 when a proof blocks it."""
    asked = _asked(constitution, overlay or [], json=json)
    asked |= {"stage": "shadow" if shadow else "active"} | ({"scope": tenant} if tenant else {})
    with Api(principal=principal, json=json) as api:
        _follow(api, api.post(PATH, asked, key=key), wait=wait, json=json)


def rollback(  # noqa: PLR0913, PLR0917 - as above
    to: Annotated[
        str | None, typer.Option("--to", help="Digest of one that was active. Unset: the one before.")
    ] = None,
    tenant: Tenant = None,
    wait: Wait = False,
    key: Key = None,
    principal: As = None,
    json: Json = False,
) -> None:
    """Go back to a constitution that was active. It is proved and approved like any other change."""
    asked = ({"to": to} if to else {}) | ({"scope": tenant} if tenant else {})
    with Api(principal=principal, json=json) as api:
        _follow(api, api.post(f"{PATH}/rollback", asked, key=key), wait=wait, json=json)


def approve(activation: Activation, comment: Comment = "", principal: As = None, json: Json = False) -> None:
    """Agree to a change of constitution. Who proposed it cannot."""
    with Api(principal=principal, json=json) as api:
        record = api.post(f"{PATH}/activations/{activation}/approve", {"comment": comment})
        _follow(api, record, wait=False, json=json)


def reject(activation: Activation, comment: Comment = "", principal: As = None, json: Json = False) -> None:
    """End a proposed change. The active constitution stays."""
    with Api(principal=principal, json=json) as api:
        record = api.post(f"{PATH}/activations/{activation}/reject", {"comment": comment})
        if json:
            output.emit(record)
        else:
            output.console().print(f"{record['id']} is {record['state']}; the active constitution stays.")


def _asked(constitution: str, overlay: list[Path], *, json: bool) -> dict[str, Any]:
    """Return what to propose, with the signatures that lie beside the file."""
    if DIGEST.fullmatch(constitution):
        return {"digest": constitution}
    file = Path(constitution)
    found, over = from_file(file, json=json), [from_file(one, json=json) for one in overlay]
    beside = file.with_name(f"{file.name}.sig.json")
    if found.kind == "Overlay":
        kept = _signatures(beside)
        return {"overlays": [found.document, *(one.document for one in over)], "signatures": kept}
    document = found.document
    if over:
        from somagent.cli.policy_reviews import effective  # noqa: PLC0415 - Z3 takes half a second to load

        document = effective(found, over, json=json)
    return {"document": document, "signatures": signatures_of(beside, digest(document))}


def _signatures(beside: Path) -> list[dict[str, str]]:
    """Return the signatures beside an overlay: over what it makes of the active constitution, which the API knows."""
    if not beside.exists():
        return []
    made = from_file(beside, json=False).document.get("digest", "")
    return signatures_of(beside, made)


def _follow(api: Api, record: dict[str, Any], *, wait: bool, json: bool) -> None:
    """Tell each step until it is decided; without `wait`, until people are asked."""
    told, progress = "", output.errors()
    ends = SETTLED if wait else SETTLED | {"awaiting_approval"}
    while True:
        if record["state"] != told:
            told = record["state"]
            if not json:
                progress.print(f"{record['id']}  {told}", markup=False)
        if told in ends:
            break
        time.sleep(EVERY_SECONDS)
        record = api.get(f"{PATH}/activations/{record['id']}")
    if json:
        output.emit(record)
    else:
        _show(record)
    _end(record, json=json)


def _end(record: dict[str, Any], *, json: bool) -> None:
    state = record["state"]
    if state == "activated":
        return
    if state == "awaiting_approval":
        raise typer.Exit(Code.WAITING)
    blocked = _unproved(record)
    why = "A proof blocks it" if blocked else record["why"] or f"It is {state}"
    message = f"{why.rstrip('.')}. The active constitution stays."
    if json:
        raise typer.Exit(Code.REFUTED if blocked else Code.DENIED)
    output.fail(message, code=Code.REFUTED if blocked else Code.DENIED)


def _show(record: dict[str, Any]) -> None:
    from somagent.cli import policy_reviews  # noqa: PLC0415 - as above

    console = output.console()
    blocked = _unproved(record)
    for proof in blocked:
        console.print(f"{outcome(proof['outcome'])} [bold]{escape(proof['guarantee'])}[/]")
        policy_reviews.show_counterexample(proof)
    if record["difference"] is not None:
        policy_reviews.show_recorded_difference(record["difference"])
    if record["state"] == "activated":
        console.print(f"[green]active[/] for {record['scope']}: {record['constitution']}", soft_wrap=True)
    elif record["state"] == "awaiting_approval":
        people = "person" if record["missing"] == 1 else "people"
        console.print(
            f"[magenta]waits[/] for {record['missing']} {people}: somagent policy approve {record['id']} --as approver",
            soft_wrap=True,
        )


def _unproved(record: dict[str, Any]) -> list[dict[str, Any]]:
    proofs = [*(record["report"] or {"proofs": []})["proofs"], *([record["narrower"]] if record["narrower"] else [])]
    return [proof for proof in proofs if proof["outcome"] != "proved"]
