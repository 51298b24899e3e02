"""Proof of possession: verifies DPoP proofs (RFC 9449) and returns the thumbprints that credentials are bound to.

A proof is a JWT that the sender signs anew for each request with its own key, which stands in the header. It names the
method, the URL and the token. Whoever steals a bound token cannot make one.
"""

import base64
import hashlib
import json
import time
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import jwt
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from jwt import PyJWK

from capsules.errors import Unauthenticated

ALGORITHMS = ("ES256", "ES384", "EdDSA", "PS256", "RS256")
PROOF_SECONDS = 60
"""How far the time of a proof may be from ours, before or after."""
LARGEST = 8192
LONGEST_ID = 200
# The members of a key that its thumbprint is over (RFC 7638, RFC 8037), and those that only a private key has.
PUBLIC = {"EC": ("crv", "kty", "x", "y"), "RSA": ("e", "kty", "n"), "OKP": ("crv", "kty", "x")}
PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}
DEFAULT_PORTS = {"http": 80, "https": 443}


class DpopRefused(Unauthenticated):
    """A DPoP proof is missing or wrong. `error` is the code of RFC 9449."""

    def __init__(self, message: str, *, error: str = "invalid_dpop_proof", **fields: str) -> None:
        super().__init__(message, scheme="DPoP", error=error, **fields)


class DpopProof(NamedTuple):
    """A proof that holds. `jti` was not checked for repetition."""

    jkt: str
    jti: str
    nonce: str | None


def verify_dpop(proof: str, *, method: str, url: str, token: str | None) -> DpopProof:
    """Return a proof for one request. token: the access token that is sent with it. Raises DpopRefused."""
    key, algorithm = _key(proof)
    try:
        claims = jwt.decode(
            proof, key, algorithms=[algorithm], options={"require": ["jti", "htm", "htu", "iat"], "verify_iat": False}
        )
    except jwt.InvalidTokenError as error:
        raise DpopRefused(f"The DPoP proof does not hold: {error}.") from error
    jti, nonce = claims["jti"], claims.get("nonce")
    if not isinstance(jti, str) or not 1 <= len(jti) <= LONGEST_ID or not isinstance(nonce, str | None):
        raise DpopRefused("The DPoP proof needs a `jti` of 1 to 200 characters.")
    if claims["htm"] != method:
        raise DpopRefused(f"The DPoP proof is for the method {claims['htm']!r}, not {method!r}.")
    if _normal(str(claims["htu"])) != _normal(url):
        raise DpopRefused(f"The DPoP proof is for the URL {claims['htu']!r}, not {url!r}.")
    if not isinstance(claims["iat"], int | float) or abs(time.time() - claims["iat"]) > PROOF_SECONDS:
        raise DpopRefused(f"The DPoP proof was not made within the last {PROOF_SECONDS} seconds. Check your clock.")
    if token is not None and claims.get("ath") != hash_text(token):
        raise DpopRefused("The DPoP proof is not for this token: `ath` is not its SHA-256.")
    return DpopProof(thumbprint(jwt.get_unverified_header(proof)["jwk"]), jti, nonce)


def thumbprint(key: dict[str, Any]) -> str:
    """Return the SHA-256 thumbprint of a public key (RFC 7638). Raises DpopRefused for an unknown kind of key."""
    members = PUBLIC.get(str(key.get("kty")))
    if members is None or not all(isinstance(key.get(name), str) for name in members):
        raise DpopRefused(f"The key of the DPoP proof is not one of: {', '.join(PUBLIC)}.")
    return hash_text(json.dumps({name: key[name] for name in members}, separators=(",", ":"), sort_keys=True))


def certificate_thumbprint(text: str) -> str:
    """Return `x5t#S256` of a certificate as a proxy passes it: RFC 9440 (`:base64:`), or PEM with `%` escapes.

    Raises Unauthenticated when it is neither.
    """
    try:
        if text.startswith(":"):
            certificate = x509.load_der_x509_certificate(base64.b64decode(text.strip(":"), validate=True))
        else:
            certificate = x509.load_pem_x509_certificate(unquote(text).encode())
    except ValueError as error:
        raise Unauthenticated("The client certificate that the proxy passes cannot be read.") from error
    return _base64url(hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest())


def hash_text(text: str) -> str:
    """Return the SHA-256 of a text in base64url without padding."""
    return _base64url(hashlib.sha256(text.encode()).digest())


def _key(proof: str) -> tuple[PyJWK, str]:
    """Return the public key in a proof's header and its algorithm, of which only signatures by key pairs count."""
    try:
        header = jwt.get_unverified_header(proof[: LARGEST + 1]) if len(proof) <= LARGEST else {}
        if header.get("typ") != "dpop+jwt" or header.get("alg") not in ALGORITHMS:
            raise DpopRefused(f"A DPoP proof has the type dpop+jwt and one of the algorithms {', '.join(ALGORITHMS)}.")
        key = header.get("jwk")
        if not isinstance(key, dict) or PRIVATE & key.keys():
            raise DpopRefused("The header of a DPoP proof has the public key as `jwk`, and never a private one.")
        return PyJWK(key, algorithm=header["alg"]), header["alg"]
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise DpopRefused(f"The DPoP proof cannot be read: {error}.") from error


def _normal(url: str) -> tuple[str, str | None, int | None, str]:
    """Return a URL without query and fragment, in one form."""
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or DEFAULT_PORTS.get(parts.scheme), parts.path or "/"
    except ValueError as error:
        raise DpopRefused(f"{url!r} is not a URL.") from error


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
