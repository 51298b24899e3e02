"""Commands `somagent approvals`, `approve` and `deny`: list, show, decide and edit approvals."""

from collections.abc import Iterator
from itertools import batched
from typing import Annotated, Any

import typer
from rich.markup import escape
from typer import Argument, Option

from somagent.cli import delegations, grants, output
from somagent.cli.command import CommentOption, LimitOption, command, group
from somagent.cli.connection import Api, JsonValue
from somagent.cli.exit_codes import BY_STATUS, Code
from somagent.cli.inputs import FieldOption, InputFileOption, gather
from somagent.cli.output import color, format_demands, local_time, table

PATH = "/v1/approvals"
top = group()
app = group("approvals", "List, show and decide approvals; delegate and grant them.")

ApprovalArgument = Annotated[str, Argument(metavar="ID", help="Id of an approval: see `somagent approvals list`.")]
ApprovalsArgument = Annotated[list[str], Argument(metavar="ID", help="Ids of approvals. Each is decided separately.")]
OnBehalfOption = Annotated[
    str | None,
    Option("--on-behalf-of", metavar="NAME", help="Use the capability that this principal delegated to you."),
]


def _row(item: dict[str, Any]) -> tuple[str, ...]:
    what, missing = f"{item['kind']} {item['target']}", format_demands(item["missing"], ", ", " ")
    return item["id"], color(item["state"]), what, item["run"], missing, local_time(item["expires_at"])


def _lines(approval: dict[str, Any]) -> Iterator[str]:
    """Yield the request, its demands, the answers, and who could decide it."""
    yield f"[bold]{approval['id']}[/]  {color(approval['state'])}"
    yield from map(escape, _plain_lines(approval))


def _plain_lines(approval: dict[str, Any]) -> Iterator[str]:
    yield f"{approval['kind']} {approval['target']} in {approval['run']}"
    yield approval["sentence"]
    yield f"asked by {approval['requested_by']}, expires {local_time(approval['expires_at'])}"
    yield f"needs {format_demands(approval['demands'])}"
    for step in approval["escalation"]:
        yield f"from {local_time(step['at'])} on also {step['capability']}"
    for answer in approval["answers"]:
        who = f"{answer['by']}{_delegator(answer)}"
        yield f"{answer['said']} by {who} {local_time(answer['at'])}{_comment(answer)}"
    if approval["missing"]:
        yield f"missing {format_demands(approval['missing'])}"
    if deciders := approval.get("deciders"):
        yield f"could decide now: {', '.join(one['subject'] + _delegator(one) for one in deciders)}"
    if approval.get("edited_from"):
        yield f"edited from {approval['edited_from']}"
    if approval.get("edited_to"):
        yield f"edited into the action {approval['edited_to']}"
    if approval.get("decided_by"):
        yield f"decided by {approval['decided_by']} {local_time(approval['decided_at'])}{_comment(approval)}"


def _delegator(answer: dict[str, Any]) -> str:
    return f" on behalf of {answer['on_behalf_of']}" if answer["on_behalf_of"] else ""


def _comment(answer: dict[str, Any]) -> str:
    return f": {answer['comment']}" if answer.get("comment") else ""


@command(
    app,
    "list",
    text=table("id", "state", "what", "run", "missing", "expires", row=_row, none="Nothing waits for a person."),
)
def list_approvals(
    api: Api,
    state: Annotated[str, Option(help="pending, approved, denied, edited, expired, used, or all.")] = "pending",
    run: Annotated[str | None, Option(help="Only approvals of this run.")] = None,
    limit: LimitOption = 50,
) -> JsonValue:
    """List approvals, newest first."""
    return api.list_items(PATH, most=limit, state=state, run=run)


@command(app, text=_lines)
def show(api: Api, approval: ApprovalArgument) -> JsonValue:
    """Show an approval: the request, its demands, the answers, and who could decide it now."""
    return api.get(f"{PATH}/{approval}")


@command(app, json=False)
def attest(
    api: Api,
    approval: ApprovalArgument,
    no: Annotated[bool, Option("--no", help="Attest a denial instead of an approval.")] = False,
    comment: CommentOption = "",
    on_behalf_of: OnBehalfOption = None,
) -> JsonValue:
    """Mint an attestation for the Signal `approve` of Temporal, valid for five minutes.

    Give the JSON to `temporal workflow signal --name approve --input`.
    """
    api.json = True
    body = {"approve": not no, "comment": comment, "on_behalf_of": on_behalf_of}
    return api.post(f"{PATH}/{approval}/attestation", body)


@command(top)
@command(app)
def approve(
    api: Api, approvals: ApprovalsArgument, comment: CommentOption = "", on_behalf_of: OnBehalfOption = None
) -> None:
    """Approve these actions, each once. The principal who started the run cannot."""
    _decide(api, approvals, {"comment": comment, "on_behalf_of": on_behalf_of}, approving=True)


@command(top)
@command(app)
def deny(
    api: Api, approvals: ApprovalsArgument, comment: CommentOption = "", on_behalf_of: OnBehalfOption = None
) -> None:
    """Deny these actions. The persona sees the denial and can try another way."""
    _decide(api, approvals, {"comment": comment, "on_behalf_of": on_behalf_of}, approving=False)


@command(app, text=_lines)
def edit(  # noqa: PLR0913, PLR0917 - the command line's own options
    api: Api,
    approval: ApprovalArgument,
    file: Annotated[str | None, Option(metavar="FILE", help="JSON or YAML file; `-` is standard input.")] = None,
    fields: FieldOption = None,
    texts: InputFileOption = None,
    comment: CommentOption = "",
    on_behalf_of: OnBehalfOption = None,
) -> JsonValue:
    """Change arguments of a waiting tool call. The gate evaluates it again; if it needs approval, yours counts.

    Arguments that you do not name keep the values that `somagent approvals arguments` shows.
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
    for batch in batched(approvals, 100):
        decisions = [{"approval": id_, "approve": approving, **answer} for id_ in batch]
        results += api.post(f"{PATH}/decide", {"decisions": decisions})["results"]
    api.show(results, table("id", "state", "why not", row=_result_row))
    refused = [item["problem"] for item in results if not item["done"]]
    if refused:
        raise typer.Exit(BY_STATUS.get(refused[0]["status"], Code.RUN_FAILED))


def _result_row(item: dict[str, Any]) -> tuple[str, ...]:
    if item["done"]:
        return item["approval"], color(item["state"]), ""
    return item["approval"], color("refused"), item["problem"]["detail"]
