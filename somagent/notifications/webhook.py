"""Webhook channel: signed HTTP POST to a checked address.

X-SomaAgent-Event-Id: 4711                     the same id again is the same notification
X-SomaAgent-Signature: t=1764000000,v1=5f2b…   hex HMAC-SHA256 of "t.body" under the shared secret

The host is resolved once, and the connection goes to the checked address. A second resolution could give an address
inside our own network (DNS rebinding).
"""

import asyncio
import hashlib
import hmac
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import httpx

from capsules.errors import Invalid
from somagent.notifications.notification import Notification, NotSent
from somagent.settings import SecretReference

Reach = Literal["public", "loopback", "private"]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# IPv6 networks whose addresses contain an IPv4 address that a gateway would use.
IPV4_IN_IPV6 = tuple(ipaddress.ip_network(text) for text in ("64:ff9b::/96", "2002::/16", "2001::/32"))


def is_allowed(address: Address, reach: Reach) -> bool:
    """Return whether a webhook may use an address. Never a link-local one, where clouds serve credentials."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_allowed(address.ipv4_mapped, reach)
        if any(address in network for network in IPV4_IN_IPV6):
            return False
    if address.is_multicast or address.is_link_local or address.is_unspecified:
        return False
    if address.is_loopback:
        return reach != "public"
    return address.is_global or (reach == "private" and address.is_private)


async def resolve(host: str, port: int, reach: Reach) -> tuple[str, ...]:
    """Return the addresses of a host. Raises NotSent when it has none, or one that `reach` does not allow."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NotSent(f"{host!r} has no address: {error}") from error
    addresses = tuple(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))
    for address in addresses:
        if not is_allowed(ipaddress.ip_address(address), reach):
            raise NotSent(
                f"{host!r} leads to {address}, which SOMAGENT_NOTIFY_REACH={reach} does not allow. "
                "Set it to loopback for this machine, or to private for your own network."
            )
    return addresses


TIMEOUT = httpx.Timeout(10, connect=5)
GONE = 410
SHORTEST_SECRET = 16  # characters


@dataclass(frozen=True)
class Webhook:
    """Posts notifications to one URL. trusted: certificates to trust; None means the system's."""

    url: str
    secret: SecretReference
    reach: Reach
    clock: Callable[[], float] = time.time
    trusted: ssl.SSLContext | None = None
    name: str = "webhook"

    async def send(self, notification: Notification) -> str:
        """Post the notification and return the status; 2xx is success, a redirect is not. Raises NotSent, Invalid."""
        url = self._url()
        body = notification.model_dump_json().encode()
        headers = {
            "Host": url.netloc.decode("ascii"),
            "Content-Type": "application/json",
            "User-Agent": "somagent",
            "X-SomaAgent-Event-Id": notification.id,
            "X-SomaAgent-Signature": signature(
                self.secret.read(shortest=SHORTEST_SECRET).encode(), body, at=int(self.clock())
            ),
        }
        port = url.port or (443 if url.scheme == "https" else 80)
        addresses = await resolve(url.host, port, self.reach)
        # No proxy and no other setting of the environment: the connection goes to the address that was checked.
        trusted = self.trusted or ssl.create_default_context()
        async with httpx.AsyncClient(verify=trusted, timeout=TIMEOUT, trust_env=False) as client:
            status = await _post(client, url, addresses, body, headers)
        if not 200 <= status < 300:
            raise NotSent(f"{url.host} answered {status}.", final=status == GONE)
        return f"{url.host} answered {status}."

    def _url(self) -> httpx.URL:
        try:
            url = httpx.URL(self.url)
        except httpx.InvalidURL as error:
            raise Invalid(f"SOMAGENT_NOTIFY_WEBHOOK_URL is no address: {error}") from error
        if url.scheme not in {"https", "http"} or not url.host:
            raise Invalid("SOMAGENT_NOTIFY_WEBHOOK_URL is no https:// address.")
        if url.userinfo:
            raise Invalid("SOMAGENT_NOTIFY_WEBHOOK_URL holds a name or password; the signature takes their place.")
        if url.scheme == "http" and self.reach == "public":
            raise Invalid(
                "SOMAGENT_NOTIFY_WEBHOOK_URL must be https:// unless SOMAGENT_NOTIFY_REACH allows a near one."
            )
        return url


def signature(secret: bytes, body: bytes, *, at: int) -> str:
    """Return the value of the signature header. at: Unix seconds."""
    return f"t={at},v1={hmac.new(secret, f'{at}.'.encode() + body, hashlib.sha256).hexdigest()}"


async def _post(
    client: httpx.AsyncClient, url: httpx.URL, addresses: tuple[str, ...], body: bytes, headers: dict[str, str]
) -> int:
    """Post to the first address that can be reached and return the status. The answer's body is not read."""
    problem: httpx.TransportError | None = None
    for address in addresses:
        request = client.build_request(
            "POST",
            url.copy_with(host=address),
            content=body,
            headers=headers,
            extensions={"sni_hostname": url.host},  # the certificate must be for the name
        )
        try:
            response = await client.send(request, stream=True, follow_redirects=False)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            problem = error
            continue
        except httpx.TransportError as error:
            raise NotSent(f"{url.host} did not answer: {_describe(error)}") from error
        await response.aclose()
        return response.status_code
    raise NotSent(f"{url.host} cannot be reached: {_describe(problem)}")


def _describe(error: Exception | None) -> str:
    return f"{type(error).__name__} {error}".strip()
