"""API keys for programs: `sg_{tenant}_{id}_{secret}`, kept only as a hash of the whole.

The tenant stands in the key so that row-level security is set before the key is looked up; a key with another tenant's
name in it hashes to nothing. The lookup is by the hash of 256 random bits, so its timing tells nothing about a secret.
"""

import hashlib
import hmac
import re
import secrets

from pydantic import BaseModel, ConfigDict, Field

from capsules.errors import Unauthenticated
from capsules.names import TenantId

_KEY = re.compile(r"^sg_(?P<tenant>[a-z0-9][a-z0-9-]{0,62})_(?P<id>[0-9a-f]{12})_(?P<secret>[0-9a-f]{64})$")
PREFIX = "sg_"


class ApiKey(BaseModel):
    """A key's public parts and its hash; `text` is shown once and never stored."""

    model_config = ConfigDict(frozen=True)

    tenant: TenantId
    id: str
    text: str = Field(repr=False)

    @property
    def hash(self) -> str:
        return key_hash(self.text)


def new_key(tenant: str) -> ApiKey:
    """Return a new random key of `tenant`."""
    key_id = secrets.token_hex(6)
    return ApiKey(tenant=tenant, id=key_id, text=f"{PREFIX}{tenant}_{key_id}_{secrets.token_hex(32)}")


def parse_key(text: str) -> ApiKey:
    """Return the parts of a presented key. Raises Unauthenticated when it does not look like one."""
    match = _KEY.match(text)
    if match is None:
        raise Unauthenticated("The API key is malformed; expected sg_<tenant>_<id>_<secret>.")
    return ApiKey(tenant=match["tenant"], id=match["id"], text=text)


def key_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def matches(text: str, stored_hash: str) -> bool:
    """Say whether a presented key is the stored one, in constant time."""
    return hmac.compare_digest(key_hash(text), stored_hash)
