"""Sender-bound credentials: DPoP proofs (RFC 9449), and client certificates that a proxy passes (RFC 8705, RFC 9440).

A bound token or API key is refused without its sender's key. Valkey remembers each proof, so that none counts twice;
without Valkey a bound credential is refused, because a repeated proof could not be seen.
"""

import secrets
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from redis.asyncio import Redis
from redis.exceptions import RedisError
from starlette.datastructures import Headers
from starlette.types import Scope

from capsules.errors import Unauthenticated, Unavailable
from capsules.identity.records import KeyConfirmation
from somagent.identity.dpop import PROOF_SECONDS, DpopProof, DpopRefused, certificate_thumbprint, hash_text, verify_dpop
from somagent.settings import Settings

NONCE_SECONDS = 300
NEEDS_PROOF = "This credential is bound to a DPoP key. Send `Authorization: DPoP <token>` and one `DPoP` header."


@dataclass(frozen=True)
class SenderBinding:
    """Checks that a request comes from the sender that its credential is bound to."""

    settings: Settings
    valkey: Redis

    async def require(self, scope: Scope, scheme: str, token: str, confirmation: KeyConfirmation | None) -> None:
        """Raise Unauthenticated unless the sender proves the key of a bound credential. Raises Unavailable."""
        bound = confirmation or KeyConfirmation()
        if scheme == "dpop" and bound.jkt is None:
            raise DpopRefused("This credential is not bound to a DPoP key. Send it as: Bearer.", error="invalid_token")
        if bound.jkt is not None:
            if scheme != "dpop":
                raise DpopRefused(NEEDS_PROOF, error="invalid_token")
            proof = await self.read_proof(scope, token)
            if proof is None:
                raise DpopRefused(NEEDS_PROOF)
            if proof.jkt != bound.jkt:
                raise DpopRefused("The DPoP proof is of another key than the credential.", error="invalid_token")
        if bound.x5t_s256 is not None and self.certificate(scope) != bound.x5t_s256:
            raise Unauthenticated(
                "This credential is bound to a client certificate. Call with it, through the proxy that passes it on."
            )

    async def read_proof(self, scope: Scope, token: str | None) -> DpopProof | None:
        """Return the DPoP proof of a request, which then counts as used; None when it has none.

        token: the token that is sent with it. Raises DpopRefused when the proof is wrong or was used, Unavailable when
        Valkey cannot be asked.
        """
        found = Headers(scope=scope).getlist("dpop")
        if not found:
            return None
        if len(found) > 1:
            raise DpopRefused("A request has one `DPoP` header.")
        proof = verify_dpop(found[0], method=scope["method"], url=self._url(scope), token=token)
        try:
            if self.settings.dpop_nonce and not (proof.nonce and await self.valkey.exists(_nonce_key(proof.nonce))):
                nonce = secrets.token_urlsafe(24)
                await self.valkey.set(_nonce_key(nonce), "1", ex=NONCE_SECONDS)
                raise DpopRefused(
                    "The DPoP proof needs the nonce of the header `DPoP-Nonce`.", error="use_dpop_nonce", nonce=nonce
                )
            used = f"somagent:dpop:{hash_text(f'{proof.jkt}.{proof.jti}')}"
            is_first = await self.valkey.set(used, "1", nx=True, ex=3 * PROOF_SECONDS)
        except (RedisError, OSError, TimeoutError) as error:
            raise Unavailable("DPoP proofs cannot be checked for repetition now: Valkey does not answer.") from error
        if not is_first:
            raise DpopRefused("This DPoP proof was used already. Make a new one for each request.")
        return proof

    def certificate(self, scope: Scope) -> str | None:
        """Return the thumbprint of the client certificate that a trusted proxy passes; None when there is none."""
        header = self.settings.client_certificate_header
        found = Headers(scope=scope).getlist(header) if header else []
        peer = (scope.get("client") or ("",))[0]
        if not found or not self._is_trusted(peer):
            return None
        if len(found) > 1:
            raise Unauthenticated(f"A request has one header {header!r}.")
        return certificate_thumbprint(found[0])

    def _is_trusted(self, peer: str) -> bool:
        try:
            address = ip_address(peer)
        except ValueError:
            return False
        return any(address in ip_network(network) for network in self.settings.trusted_proxies)

    def _url(self, scope: Scope) -> str:
        """Return the URL that the client called: at the API's public address, or at the host that it named."""
        host = Headers(scope=scope).get("host", "")
        base = self.settings.api_base() if self.settings.api_url else f"{scope['scheme']}://{host}"
        return base + (scope.get("raw_path") or b"").decode("ascii", "replace").partition("?")[0]


def _nonce_key(nonce: str) -> str:
    return f"somagent:dpop-nonce:{hash_text(nonce)}"
