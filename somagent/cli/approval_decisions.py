"""`somagent approve`, `deny`, and under `approvals` also `edit` and `arguments`: a person's answer to what waits."""

from typing import Annotated, Any

import typer

from somagent.cli import output
from somagent.cli.connection import Api
from somagent.cli.exit_codes import BY_STATUS, Code
from somagent.cli.formatting import clock, colored, table
from somagent.cli.inputs import gather
from somagent.cli.options import As, Json

Id = Annotated[str, typer.Argument(metavar="ID", help="An approval's id, as `somagent approvals list` shows it.")]
Ids = Annotated[
    list[str], typer.Argument(metavar="ID...", help="Approvals' ids; of several each is decided on its own.")
]
Comment = Annotated[str, typer.Option("--comment", help="Why, for the record.")]
OnBehalf = Annotated[
    str | None,
    typer.Option("--on-behalf-of", metavar="NAME", help="Use the right that this principal delegated to you."),
]


def register(to: typer.Typer, group: typer.Typer) -> None:
    for place in (to, group):
        place.command()(approve)
        place.command()(deny)
    group.command()(edit)
    group.command()(arguments)


def approve(
    approvals: Ids, comment: Comment = "", on_behalf_of: OnBehalf = None, principal: As = None, json: Json = False
) -> None:
    """Say yes to exactly this action, once. Who asked for it cannot."""
    _decide(approvals, comment, on_behalf_of, principal, approving=True, json=json)


def deny(
    approvals: Ids, comment: Comment = "", on_behalf_of: OnBehalf = None, principal: As = None, json: Json = False
) -> None:
    """Say no. The persona is told and may try another way."""
    _decide(approvals, comment, on_behalf_of, principal, approving=False, json=json)


def edit(  # noqa: PLR0913, PLR0917 - the command line's own options
    approval: Id,
    file: Annotated[
        str | None,
        typer.Option("--file", metavar="FILE", help="JSON or YAML mapping of arguments; `-` is standard input."),
    ] = None,
    fields: Annotated[
        list[str] | None,
        typer.Option(
            "-f", "--field", metavar="NAME=VALUE", help="One argument: JSON where it reads as such, else text."
        ),
    ] = None,
    texts: Annotated[
        list[str] | None, typer.Option("--input-file", metavar="NAME=PATH", help="An argument from a text file.")
    ] = None,
    comment: Comment = "",
    on_behalf_of: OnBehalf = None,
    principal: As = None,
    json: Json = False,
) -> None:
    """Change arguments of a waiting tool call. It is judged anew; where it asks again, your yes counts.

    What you do not name stays as `somagent approvals arguments` shows it.
    """
    if file is None and not fields and not texts:
        output.fail("Say what to change: --file, -f NAME=VALUE or --input-file NAME=PATH.", code=Code.USAGE)
    with Api(principal=principal, json=json) as api:
        waiting = api.get(f"/v1/approvals/{approval}/arguments")["arguments"]
        wanted = gather(example=waiting, file=file, fields=fields or [], files=texts or [])
        body = {"arguments": wanted, "comment": comment, "on_behalf_of": on_behalf_of}
        show_one(api.post(f"/v1/approvals/{approval}/edit", body), json=json)


def arguments(approval: Id, principal: As = None, json: Json = False) -> None:
    """Show the arguments of a tool call that waits, as JSON."""
    with Api(principal=principal, json=json) as api:
        output.emit(api.get(f"/v1/approvals/{approval}/arguments")["arguments"])


def _decide(  # noqa: PLR0913 - the command line's own options
    approvals: list[str],
    comment: str,
    on_behalf_of: str | None,
    principal: str | None,
    *,
    approving: bool,
    json: bool,
) -> None:
    said = {"comment": comment, "on_behalf_of": on_behalf_of}
    with Api(principal=principal, json=json) as api:
        if len(approvals) == 1:
            verb = "approve" if approving else "deny"
            show_one(api.post(f"/v1/approvals/{approvals[0]}/{verb}", said), json=json)
            return
        results: list[dict[str, Any]] = []
        for start in range(0, len(approvals), 100):
            few = [{"approval": id_, "approve": approving, **said} for id_ in approvals[start : start + 100]]
            results += api.post("/v1/approvals/decide", {"decisions": few})["results"]
    if json:
        output.emit(results)
    else:
        _show_results(results)
    refused = [item["problem"] for item in results if not item["done"]]
    if refused:
        raise typer.Exit(BY_STATUS.get(refused[0]["status"], Code.RUN_FAILED))


def _show_results(results: list[dict[str, Any]]) -> None:
    shown = table("id", "state", "why not")
    for item in results:
        state = colored(item["state"]) if item["done"] else "[red]refused[/]"
        shown.add_row(item["approval"], state, "" if item["done"] else item["problem"]["detail"])
    output.console().print(shown)


def show_one(approval: dict[str, Any], *, json: bool) -> None:
    """Write an approval: what is asked, of whom, who said what, who could decide."""
    if json:
        output.emit(approval)
        return
    console = output.console()

    def line(text: str) -> None:
        console.print(text, markup=False, soft_wrap=True)

    console.print(f"[bold]{approval['id']}[/]  {colored(approval['state'])}")
    line(f"{approval['kind']} {approval['target']} in {approval['run']}")
    line(approval["sentence"])
    line(f"asked by {approval['requested_by']}, expires {clock(approval['expires_at'])}")
    line(f"needs {_people(approval['demands'])}")
    for group in approval["escalation"]:
        line(f"from {clock(group['at'])} on also {group['capability']}")
    for said in approval["answers"]:
        owner = f" on behalf of {said['on_behalf_of']}" if said["on_behalf_of"] else ""
        comment = f": {said['comment']}" if said["comment"] else ""
        line(f"{said['said']} by {said['by']}{owner} {clock(said['at'])}{comment}")
    if approval["missing"]:
        line(f"missing {_people(approval['missing'])}")
    if approval.get("deciders"):
        line(f"could decide now: {', '.join(_named(d) for d in approval['deciders'])}")
    if approval.get("edited_from"):
        line(f"edited from {approval['edited_from']}")
    if approval.get("edited_to"):
        line(f"edited into the action {approval['edited_to']}")
    if approval.get("decided_by"):
        said = f": {approval['comment']}" if approval.get("comment") else ""
        line(f"decided by {approval['decided_by']} {clock(approval['decided_at'])}{said}")


def _people(demands: list[dict[str, Any]]) -> str:
    return " and ".join(f"{demand['quorum']} with {demand['capability']}" for demand in demands)


def _named(decider: dict[str, Any]) -> str:
    owner = f" on behalf of {decider['on_behalf_of']}" if decider["on_behalf_of"] else ""
    return f"{decider['subject']}{owner}"
