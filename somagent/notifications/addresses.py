"""Where a webhook may go. A name is resolved once and the connection made to what was checked.

Otherwise a name that resolves to something else a moment later would lead into the network we stand in.
"""

import asyncio
import ipaddress
import socket
from typing import Literal

from somagent.notifications.notification import NotSent

Reach = Literal["public", "loopback", "private"]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Each holds IPv4 addresses inside, which another machine would unpack.
WRAPPED = tuple(ipaddress.ip_network(text) for text in ("64:ff9b::/96", "2002::/16", "2001::/32"))


def allowed(address: Address, reach: Reach) -> bool:
    """Say whether a webhook may go to an address. Link-local, where clouds keep credentials, never."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return allowed(address.ipv4_mapped, reach)
        if any(address in network for network in WRAPPED):
            return False
    if address.is_multicast or address.is_link_local or address.is_unspecified:
        return False
    if address.is_loopback:
        return reach != "public"
    return address.is_global or (reach == "private" and address.is_private)


async def resolve(host: str, port: int, reach: Reach) -> tuple[str, ...]:
    """Return the addresses of a host. Raises NotSent when it has none or one that must not be reached."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NotSent(f"{host!r} has no address: {error}") from error
    addresses = tuple(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))
    for address in addresses:
        if not allowed(ipaddress.ip_address(address), reach):
            raise NotSent(
                f"{host!r} leads to {address}, which SOMAGENT_NOTIFY_REACH={reach} does not allow. "
                "Set it to loopback for this machine, or to private for your own network."
            )
    return addresses
