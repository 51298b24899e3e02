"""A DPoP key of a client: makes proofs for requests as RFC 9449 says, and with changes, wrong ones."""

import base64
import hashlib
import json
import time
import uuid
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class DpopKey:
    """An ES256 key."""

    def __init__(self) -> None:
        self.private = ec.generate_private_key(ec.SECP256R1())
        numbers = self.private.public_key().public_numbers()
        x, y = (base64url(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))
        self.jwk = {"kty": "EC", "crv": "P-256", "x": x, "y": y}

    @property
    def jkt(self) -> str:
        """The thumbprint, written out as RFC 7638 says."""
        text = f'{{"crv":"P-256","kty":"EC","x":"{self.jwk["x"]}","y":"{self.jwk["y"]}"}}'
        return base64url(hashlib.sha256(text.encode()).digest())

    def proof(
        self, method: str, url: str, token: str | None = None, *, header: dict[str, Any] | None = None, **claims: Any
    ) -> str:
        """Return a proof. header, claims: what differs from a good one; None leaves a claim out."""
        good: dict[str, Any] = {"jti": uuid.uuid4().hex, "htm": method, "htu": url, "iat": int(time.time())}
        if token is not None:
            good["ath"] = base64url(hashlib.sha256(token.encode()).digest())
        body = {name: value for name, value in (good | claims).items() if value is not None}
        return jwt.encode(
            body, self.private, algorithm="ES256", headers={"typ": "dpop+jwt", "jwk": self.jwk} | (header or {})
        )

    def headers(self, method: str, url: str, token: str, **changes: Any) -> dict[str, str]:
        """Return the headers of a request with a bound token."""
        return {"Authorization": f"DPoP {token}", "DPoP": self.proof(method, url, token, **changes)}


def decoded(token: str) -> dict[str, Any]:
    """Return the claims of a token without verifying it, as a thief reads them."""
    body = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return claims
