"""Commands `somagent tenant`: the tenants of the installation, for principals of the platform's tenant."""

from collections.abc import Iterator
from typing import Annotated, Any

from typer import Argument

from somagent.cli.command import command, group
from somagent.cli.connection import Api, JsonValue
from somagent.cli.output import color, local_time, table

PATH = "/v1/tenants"
app = group("tenant", "Manage the tenants of the installation. `python -m workers.tenants add` adds one.")

TenantNameArgument = Annotated[str, Argument(metavar="TENANT", help="Name of a tenant: see `somagent tenant list`.")]


def _row(item: dict[str, Any]) -> tuple[str, ...]:
    return item["id"], color(item["state"]), local_time(item["created_at"]), local_time(item["changed_at"])


def _lines(it: dict[str, Any]) -> Iterator[str]:
    yield f"[bold]{it['id']}[/]  {color(it['state'])} since {local_time(it['changed_at'])}"


@command(app, "list", text=table("tenant", "state", "created", "changed", row=_row, none="There are no tenants."))
def list_tenants(api: Api) -> JsonValue:
    """List the tenants."""
    return api.get(PATH)["items"]


@command(app, text=_lines)
def show(api: Api, tenant: TenantNameArgument) -> JsonValue:
    """Show a tenant and its state."""
    return api.get(f"{PATH}/{tenant}")


@command(app, text=_lines)
def suspend(api: Api, tenant: TenantNameArgument) -> JsonValue:
    """Refuse everybody of a tenant until it is resumed."""
    return api.post(f"{PATH}/{tenant}/suspend")


@command(app, text=_lines)
def resume(api: Api, tenant: TenantNameArgument) -> JsonValue:
    """Let the principals of a suspended tenant in again."""
    return api.post(f"{PATH}/{tenant}/resume")


@command(app, text=_lines)
def revoke(api: Api, tenant: TenantNameArgument) -> JsonValue:
    """Refuse everybody of a tenant for ever, and revoke all its keys and tokens. Its records stay."""
    return api.post(f"{PATH}/{tenant}/revoke")


@command(app, text=lambda it: [f"{it['ended']} keys and token families of {it['tenant']['id']} are revoked."])
def rotate(api: Api, tenant: TenantNameArgument) -> JsonValue:
    """Revoke every key and token of a tenant. New keys: `python -m workers.tenants rotate`."""
    return api.post(f"{PATH}/{tenant}/rotate")
