"""Notices by signed HTTP POST.

X-SomaAgent-Event-Id: 4711                     the same id again is the same notice
X-SomaAgent-Signature: t=1764000000,v1=5f2b…   hex HMAC-SHA256 of "t.body" under the shared secret
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
from somagent.notifications.notification import Notice, NotSent
from somagent.notifications.secret import SHORTEST, SecretReference

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


TIMEOUT = httpx.Timeout(10, connect=5)
GONE = 410


@dataclass(frozen=True)
class Webhook:
    url: str
    secret: SecretReference
    reach: Reach
    clock: Callable[[], float] = time.time
    trusted: ssl.SSLContext | None = None
    """What the certificate is checked against; the system's authorities unless given."""
    name: str = "webhook"

    async def send(self, notice: Notice) -> str:
        """Post the notice; any 2xx answer is taken for received. A redirect is none: it is not followed."""
        url = self._url()
        body = notice.model_dump_json().encode()
        headers = {
            "Host": url.netloc.decode("ascii"),
            "Content-Type": "application/json",
            "User-Agent": "somagent",
            "X-SomaAgent-Event-Id": notice.id,
            "X-SomaAgent-Signature": signature(
                self.secret.read(shortest=SHORTEST).encode(), body, at=int(self.clock())
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
    """Return the header that proves who sent these bytes, and when."""
    return f"t={at},v1={hmac.new(secret, f'{at}.'.encode() + body, hashlib.sha256).hexdigest()}"


async def _post(
    client: httpx.AsyncClient, url: httpx.URL, addresses: tuple[str, ...], body: bytes, headers: dict[str, str]
) -> int:
    """Post to the first address that can be reached and return the status; the answer's body is never read."""
    problem: httpx.TransportError | None = None
    for address in addresses:
        request = client.build_request(
            "POST",
            url.copy_with(host=address),
            content=body,
            headers=headers,
            extensions={"sni_hostname": url.host},  # the certificate must be the name's, not the address's
        )
        try:
            response = await client.send(request, stream=True, follow_redirects=False)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            problem = error
            continue
        except httpx.TransportError as error:
            raise NotSent(f"{url.host} did not answer: {_words(error)}") from error
        await response.aclose()
        return response.status_code
    raise NotSent(f"{url.host} cannot be reached: {_words(problem)}")


def _words(error: Exception | None) -> str:
    return f"{type(error).__name__} {error}".strip()
