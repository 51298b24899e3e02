"""Commands `somagent principal`: who may call, and what; suspend, resume, revoke and rotate."""

from collections.abc import Iterator
from typing import Annotated, Any

from rich.markup import escape
from typer import Argument, Option

from somagent.cli import output
from somagent.cli.command import LimitOption, command, group
from somagent.cli.connection import Api, JsonValue
from somagent.cli.output import color, local_time, table

PATH = "/v1/principals"
app = group("principal", "Manage the principals of the tenant: who may call, and what.")

NameArgument = Annotated[str, Argument(metavar="NAME", help="Name of a principal: see `somagent principal list`.")]
CapabilityOption = Annotated[
    list[str],
    Option("--capability", "-c", metavar="NAME", help="Capability that it has. Repeatable. You must have it."),
]


def _row(item: dict[str, Any]) -> tuple[str, ...]:
    return (
        item["subject"],
        color(item["state"]),
        ", ".join(sorted(item["capabilities"])),
        local_time(item["changed_at"]),
    )


def _lines(it: dict[str, Any]) -> Iterator[str]:
    since = local_time(it["changed_at"])
    yield f"[bold]{it['subject']}[/] of tenant {it['tenant']}  {color(it['state'])} since {since}"
    yield escape(", ".join(sorted(it["capabilities"])))


def show_key(api: Api, answer: dict[str, Any], key_id: str) -> None:
    """Write a new API key alone to standard output, and what it is to standard error. With --json: the answer."""
    api.show(answer, lambda it: [escape(it["key"])])
    if not api.json:
        output.note(f"API key {key_id}. It is shown only now.")


@command(
    app,
    "list",
    text=table("name", "state", "capabilities", "changed", row=_row, none="There are no principals."),
)
def list_principals(api: Api, limit: LimitOption = 500) -> JsonValue:
    """List the principals of the tenant."""
    return api.list_items(PATH, most=limit)


@command(app, text=_lines)
def show(api: Api, name: NameArgument) -> JsonValue:
    """Show a principal, its state and its capabilities."""
    return api.get(f"{PATH}/{name}")


@command(app)
def add(
    api: Api, name: Annotated[str, Argument(metavar="NAME", help="A new name.")], capability: CapabilityOption
) -> None:
    """Add a principal with an API key. Without --json only the key is written."""
    answer = api.post(PATH, {"subject": name, "capabilities": capability})
    show_key(api, answer, answer["key_id"])


@command(app, "set", text=_lines)
def set_capabilities(api: Api, name: NameArgument, capability: CapabilityOption) -> JsonValue:
    """Set what a principal may do. It counts within a second, also for its tokens."""
    return api.put(f"{PATH}/{name}", {"capabilities": capability})


@command(app, text=_lines)
def suspend(api: Api, name: NameArgument) -> JsonValue:
    """Refuse a principal until it is resumed. Its keys and tokens stay, and are refused too."""
    return api.post(f"{PATH}/{name}/suspend")


@command(app, text=_lines)
def resume(api: Api, name: NameArgument) -> JsonValue:
    """Let a suspended principal in again."""
    return api.post(f"{PATH}/{name}/resume")


@command(app, text=_lines)
def revoke(api: Api, name: NameArgument) -> JsonValue:
    """Refuse a principal for ever, and revoke its keys and tokens."""
    return api.post(f"{PATH}/{name}/revoke")


@command(app)
def rotate(api: Api, name: NameArgument) -> None:
    """Revoke every key and token of a principal, and give it a new API key. Without --json only the key is written."""
    answer = api.post(f"{PATH}/{name}/rotate")
    show_key(api, answer, answer["key_id"])
