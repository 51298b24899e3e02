"""Commands `somagent key`: API keys of the tenant's principals."""

from collections.abc import Iterator
from typing import Annotated, Any

from rich.markup import escape
from typer import Argument, Option

from somagent.cli.command import LimitOption, command, group
from somagent.cli.connection import Api, JsonValue
from somagent.cli.output import color, local_time, table
from somagent.cli.principal import show_key

PATH = "/v1/keys"
app = group("key", "Manage the API keys of the tenant's principals.")

KeyArgument = Annotated[str, Argument(metavar="ID", help="Id of an API key: see `somagent key list`.")]
OfOption = Annotated[str | None, Option("--of", metavar="NAME", help="Only those of this principal.")]


def limits(item: dict[str, Any]) -> str:
    """Return what a key or a token family is limited to, and the kind of key that it is bound to, as text."""
    held = item.get("capabilities")
    bound = [
        name
        for field, name in (("jkt", "DPoP"), ("x5t#S256", "certificate"))
        if (item.get("confirmation") or {}).get(field)
    ]
    return ", ".join(["all" if held is None else " ".join(sorted(held)), *(f"bound: {name}" for name in bound)])


def _row(item: dict[str, Any]) -> tuple[str, ...]:
    ends = item["revoked_at"] or item["expires_at"]
    return (
        item["id"],
        item["subject"],
        color(item["state"]),
        limits(item),
        local_time(item["created_at"]),
        local_time(ends),
    )


def state_lines(it: dict[str, Any]) -> Iterator[str]:
    """Yield the state of a key or a token family, and who ended it."""
    yield f"[bold]{it['id']}[/] of {it['subject']}  {color(it['state'])}"
    if it["revoked_by"]:
        yield escape(f"by {it['revoked_by']} {local_time(it['revoked_at'])}: {it['reason']}")


@command(
    app,
    "list",
    text=table("id", "principal", "state", "may", "created", "ends", row=_row, none="There are no API keys."),
)
def list_keys(api: Api, of: OfOption = None, limit: LimitOption = 50) -> JsonValue:
    """List API keys, newest first."""
    return api.list_items(PATH, most=limit, of=of)


@command(app)
def add(  # noqa: PLR0913, PLR0917 - the command line's own options
    api: Api,
    name: Annotated[str, Argument(metavar="NAME", help="The principal of the new key.")],
    capability: Annotated[
        list[str] | None,
        Option("--capability", "-c", metavar="NAME", help="Capability of the key. Repeatable. Unset: all that it has."),
    ] = None,
    days: Annotated[int | None, Option(min=1, metavar="N", help="How long it is valid. Unset: until revoked.")] = None,
    jkt: Annotated[
        str | None, Option(metavar="THUMBPRINT", help="Bind it to a DPoP key (RFC 7638): stolen, it is useless.")
    ] = None,
    certificate: Annotated[
        str | None, Option(metavar="SHA256", help="Bind it to a client certificate (`x5t#S256`, RFC 8705).")
    ] = None,
) -> None:
    """Add an API key for a principal. Without --json only the key is written."""
    bound = {name: value for name, value in (("jkt", jkt), ("x5t#S256", certificate)) if value}
    body = {"subject": name, "capabilities": capability or None, "days": days, "confirmation": bound or None}
    answer = api.post(PATH, body)
    show_key(api, answer, answer["record"]["id"])


@command(app)
def rotate(
    api: Api,
    key: KeyArgument,
    overlap: Annotated[
        int, Option(min=0, metavar="SECONDS", help="How long the old key is valid beside the new one.")
    ] = 0,
) -> None:
    """Replace an API key by a new one with the same limits. Without --json only the key is written."""
    answer = api.post(f"{PATH}/{key}/rotate", {"overlap_seconds": overlap})
    show_key(api, answer, answer["record"]["id"])


@command(app, text=state_lines)
def revoke(api: Api, key: KeyArgument) -> JsonValue:
    """Revoke an API key, with all tokens that came from it."""
    return api.delete(f"{PATH}/{key}")
