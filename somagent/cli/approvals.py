"""`somagent approvals`, `approve`, `deny`: what waits, or waited, for a person, and a person's decision."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.markup import escape

from somagent.cli import delegations, grants, output
from somagent.cli.command import CommentOption, LimitOption, command, group
from somagent.cli.connection import Api, JsonValue
from somagent.cli.exit_codes import BY_STATUS, Code
from somagent.cli.inputs import gather
from somagent.cli.output import clock, colored, people, rows

PATH = "/v1/approvals"
top = group()
app = group("approvals", "List and show what waits, or waited, for a person.")

ApprovalArgument = Annotated[
    str, typer.Argument(metavar="ID", help="An approval's id, as `somagent approvals list` shows it.")
]
ApprovalsArgument = Annotated[
    list[str], typer.Argument(metavar="ID...", help="Ids of approvals; each is decided separately.")
]
OnBehalfOption = Annotated[
    str | None,
    typer.Option("--on-behalf-of", metavar="NAME", help="Use the right that this principal delegated to you."),
]


def _row(item: dict[str, Any]) -> tuple[str, ...]:
    what, missing = f"{item['kind']} {item['target']}", people(item["missing"], ", ", " ")
    return item["id"], colored(item["state"]), what, item["run"], missing, clock(item["expires_at"])


def _lines(approval: dict[str, Any]) -> Iterator[str]:
    """Yield what is asked, of whom, who answered what, and who could decide."""
    yield f"[bold]{approval['id']}[/]  {colored(approval['state'])}"
    yield from map(escape, _plain_lines(approval))


def _plain_lines(approval: dict[str, Any]) -> Iterator[str]:
    yield f"{approval['kind']} {approval['target']} in {approval['run']}"
    yield approval["sentence"]
    yield f"asked by {approval['requested_by']}, expires {clock(approval['expires_at'])}"
    yield f"needs {people(approval['demands'])}"
    for step in approval["escalation"]:
        yield f"from {clock(step['at'])} on also {step['capability']}"
    for answer in approval["answers"]:
        who = f"{answer['by']}{_owner(answer)}"
        yield f"{answer['said']} by {who} {clock(answer['at'])}{_after_colon(answer['comment'])}"
    if approval["missing"]:
        yield f"missing {people(approval['missing'])}"
    if deciders := approval.get("deciders"):
        yield f"could decide now: {', '.join(one['subject'] + _owner(one) for one in deciders)}"
    if approval.get("edited_from"):
        yield f"edited from {approval['edited_from']}"
    if approval.get("edited_to"):
        yield f"edited into the action {approval['edited_to']}"
    if approval.get("decided_by"):
        comment = _after_colon(approval.get("comment"))
        yield f"decided by {approval['decided_by']} {clock(approval['decided_at'])}{comment}"


def _owner(answer: dict[str, Any]) -> str:
    return f" on behalf of {answer['on_behalf_of']}" if answer["on_behalf_of"] else ""


def _after_colon(comment: str | None) -> str:
    return f": {comment}" if comment else ""


@command(
    app,
    "list",
    text=rows("id", "state", "what", "run", "missing", "expires", row=_row, none="Nothing waits for a person."),
)
def list_approvals(
    api: Api,
    state: Annotated[
        str, typer.Option("--state", help="pending, approved, denied, edited, expired, used, or all.")
    ] = "pending",
    run: Annotated[str | None, typer.Option("--run", help="Only approvals of this run.")] = None,
    limit: LimitOption = 50,
) -> JsonValue:
    """List approvals, newest first."""
    return api.all(PATH, most=limit, state=state, run=run)


@command(app, text=_lines)
def show(api: Api, approval: ApprovalArgument) -> JsonValue:
    """Show what is asked, of whom, who could decide it now, and how it was decided."""
    return api.get(f"{PATH}/{approval}")


@command(app, json=False)
def attest(
    api: Api,
    approval: ApprovalArgument,
    no: Annotated[bool, typer.Option("--no", help="Attest a denial instead of an approval.")] = False,
    comment: CommentOption = "",
    on_behalf_of: OnBehalfOption = None,
) -> JsonValue:
    """Write the JSON that `temporal workflow signal --name approve --input` takes. It holds for five minutes."""
    api.json = True
    said = {"approve": not no, "comment": comment, "on_behalf_of": on_behalf_of}
    return api.post(f"{PATH}/{approval}/attestation", said)


@command(top)
@command(app)
def approve(
    api: Api, approvals: ApprovalsArgument, comment: CommentOption = "", on_behalf_of: OnBehalfOption = None
) -> None:
    """Approve exactly this action, once. The principal who started the run cannot."""
    _decide(api, approvals, {"comment": comment, "on_behalf_of": on_behalf_of}, approving=True)


@command(top)
@command(app)
def deny(
    api: Api, approvals: ApprovalsArgument, comment: CommentOption = "", on_behalf_of: OnBehalfOption = None
) -> None:
    """Deny this action. The persona is told and can try another way."""
    _decide(api, approvals, {"comment": comment, "on_behalf_of": on_behalf_of}, approving=False)


@command(app, text=_lines)
def edit(  # noqa: PLR0913, PLR0917 - the command line's own options
    api: Api,
    approval: ApprovalArgument,
    file: Annotated[
        str | None,
        typer.Option("--file", metavar="FILE", help="JSON or YAML mapping of arguments; `-` is standard input."),
    ] = None,
    fields: Annotated[
        list[str] | None,
        typer.Option(
            "-f", "--field", metavar="NAME=VALUE", help="One argument: JSON if it is valid JSON, otherwise text."
        ),
    ] = None,
    texts: Annotated[
        list[str] | None, typer.Option("--input-file", metavar="NAME=PATH", help="One argument: the text of a file.")
    ] = None,
    comment: CommentOption = "",
    on_behalf_of: OnBehalfOption = None,
) -> JsonValue:
    """Change arguments of a waiting tool call. The gate evaluates it again; if it needs approval, yours counts.

    What you do not name stays as `somagent approvals arguments` shows it.
    """
    if file is None and not fields and not texts:
        output.fail("Say what to change: --file, -f NAME=VALUE or --input-file NAME=PATH.", code=Code.USAGE)
    wanted = gather(example=arguments(api, approval), file=file, fields=fields, files=texts)
    body = {"arguments": wanted, "comment": comment, "on_behalf_of": on_behalf_of}
    return api.post(f"{PATH}/{approval}/edit", body)


@command(app)
def arguments(api: Api, approval: ApprovalArgument) -> JsonValue:
    """Show the arguments of a waiting tool call as JSON."""
    return api.get(f"{PATH}/{approval}/arguments")["arguments"]


app.add_typer(delegations.app)
app.add_typer(grants.app)


def _decide(api: Api, approvals: list[str], answer: dict[str, str | None], *, approving: bool) -> None:
    if len(approvals) == 1:
        api.show(api.post(f"{PATH}/{approvals[0]}/{'approve' if approving else 'deny'}", answer), _lines)
        return
    results: list[dict[str, Any]] = []
    for start in range(0, len(approvals), 100):
        few = [{"approval": id_, "approve": approving, **answer} for id_ in approvals[start : start + 100]]
        results += api.post(f"{PATH}/decide", {"decisions": few})["results"]
    api.show(results, rows("id", "state", "why not", row=_result_row))
    refused = [item["problem"] for item in results if not item["done"]]
    if refused:
        raise typer.Exit(BY_STATUS.get(refused[0]["status"], Code.RUN_FAILED))


def _result_row(item: dict[str, Any]) -> tuple[str, ...]:
    done = item["done"]
    return item["approval"], colored(item["state"] if done else "refused"), "" if done else item["problem"]["detail"]
