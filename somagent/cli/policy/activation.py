"""Commands `somagent policy activate`, `rollback`, `approve` and `reject`: activations of constitutions."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from capsules.constitutions.proof import Difference, Proof
from capsules.constitutions.proposal import SETTLED
from capsules.digest import digest
from somagent.cli import output
from somagent.cli.command import CommentOption, KeyOption, command, group
from somagent.cli.connection import Api, JsonValue
from somagent.cli.exit_codes import Code
from somagent.cli.output import Lines
from somagent.cli.policy.signatures import apply_overlays, signature_file, signatures_of
from somagent.cli.policy.sources import DIGEST, OverlayOption, from_file

PATH = "/v1/constitutions"
POLL_SECONDS = 0.3
app = group()

TenantOption = Annotated[
    str | None,
    Option("--tenant", metavar="NAME", help="Only for this tenant (a canary). Unset: all that you may change."),
]
WaitOption = Annotated[bool, Option("--wait", help="Wait until the required people have approved it.")]
ActivationArgument = Annotated[str, Argument(metavar="ACTIVATION", help="Id of an activation, as `activate` shows it.")]


@command(app)
def activate(  # noqa: PLR0913, PLR0917 - the command line's own options
    api: Api,
    constitution: Annotated[str, Argument(metavar="CONSTITUTION", help="A file signed by `policy sign`, or a digest.")],
    overlay: OverlayOption = None,
    tenant: TenantOption = None,
    shadow: Annotated[
        bool, Option("--shadow", help="Only evaluate it beside the active one; count differences.")
    ] = False,
    wait: WaitOption = False,
    key: KeyOption = None,
) -> None:
    """Propose a constitution. It is proved, compared and approved, then active. Exit code 10 if a proof blocks it."""
    body = _proposal(constitution, overlay or []) | {"stage": "shadow" if shadow else "active", "scope": tenant}
    _follow(api, api.post(PATH, body, key=key), wait=wait)


@command(app)
def rollback(
    api: Api,
    to: Annotated[str | None, Option(metavar="DIGEST", help="A formerly active one. Unset: the previous one.")] = None,
    tenant: TenantOption = None,
    wait: WaitOption = False,
    key: KeyOption = None,
) -> None:
    """Propose a constitution that was active before. It is proved and approved like any other."""
    _follow(api, api.post(f"{PATH}/rollback", {"to": to, "scope": tenant}, key=key), wait=wait)


@command(app)
def approve(api: Api, activation: ActivationArgument, comment: CommentOption = "") -> None:
    """Approve an activation. The principal who proposed it cannot."""
    _follow(api, api.post(f"{PATH}/activations/{activation}/approve", {"comment": comment}), wait=False)


@command(app, text=lambda it: [f"{it['id']} is {it['state']}; the active constitution stays."])
def reject(api: Api, activation: ActivationArgument, comment: CommentOption = "") -> JsonValue:
    """Reject an activation. The active constitution stays."""
    return api.post(f"{PATH}/activations/{activation}/reject", {"comment": comment})


def _proposal(constitution: str, overlay: list[Path]) -> dict[str, Any]:
    """Return the body of a proposal: a digest, or documents with the signatures from beside the file."""
    if DIGEST.fullmatch(constitution):
        return {"digest": constitution}
    file = Path(constitution)
    found, over = from_file(file), [from_file(one) for one in overlay]
    beside = signature_file(file)
    if found.kind == "Overlay":
        # The signatures are for the active constitution with its overlays, which only the API knows.
        signed: str = from_file(beside).document.get("digest", "") if beside.exists() else ""
        overlays = [found.document, *(one.document for one in over)]
        return {"overlays": overlays, "signatures": signatures_of(beside, signed)}
    document = apply_overlays(found, over)
    return {"document": document, "signatures": signatures_of(beside, digest(document))}


def _follow(api: Api, record: dict[str, Any], *, wait: bool) -> None:
    """Show each state until the activation is decided, or without `wait` until people are asked; end with its code."""
    last, ends = "", SETTLED if wait else SETTLED | {"awaiting_approval"}
    progress = output.console(errors=True)
    while True:
        state = record["state"]
        if state != last and not api.json:
            progress.print(f"{record['id']}  {state}", markup=False)
        last = state
        if state in ends:
            break
        time.sleep(POLL_SECONDS)
        record = api.get(f"{PATH}/activations/{record['id']}")
    api.show(record, _lines)
    if state == "awaiting_approval":
        raise typer.Exit(Code.WAITING)
    if state != "activated":
        blocked = bool(_unproved(record))
        code = Code.REFUTED if blocked else Code.DENIED
        if api.json:
            raise typer.Exit(code)
        why = "A proof blocks it" if blocked else record["why"] or f"It is {state}"
        output.fail(f"{why.rstrip('.')}. The active constitution stays.", code=code)


def _lines(record: dict[str, Any]) -> Lines:
    from somagent.cli.policy import reviews  # noqa: PLC0415 - Z3 takes half a second to load

    for proof in _unproved(record):
        yield from reviews.proof_lines(Proof.model_validate(proof))
    if record["difference"] is not None:
        yield from reviews.difference_lines(Difference.model_validate(record["difference"]))
    if record["state"] == "activated":
        yield f"[green]active[/] for {record['scope']}: {record['constitution']}"
    elif record["state"] == "awaiting_approval":
        people = "person" if record["missing"] == 1 else "people"
        command_line = f"somagent policy approve {record['id']} --as approver"
        yield f"[magenta]waits[/] for {record['missing']} {people}: {command_line}"


def _unproved(record: dict[str, Any]) -> list[dict[str, Any]]:
    proofs = [*(record["report"] or {"proofs": []})["proofs"], *([record["narrower"]] if record["narrower"] else [])]
    return [proof for proof in proofs if proof["outcome"] != "proved"]
