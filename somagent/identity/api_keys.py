"""API keys for programs: `sg_{tenant}_{id}_{secret}`, stored only as a hash of the whole key.

The key contains its tenant, so that row-level security is set before the lookup. A changed tenant gives another hash.
The lookup is by the hash of 256 random bits, so its time reveals nothing about the secret.
"""

import hashlib
import re
import secrets

from pydantic import Field

from capsules.base_model import FrozenModel
from capsules.errors import Unauthenticated
from capsules.names import TenantId

_KEY = re.compile(r"^sg_(?P<tenant>[a-z0-9][a-z0-9-]{0,62})_(?P<id>[0-9a-f]{12})_(?P<secret>[0-9a-f]{64})$")
PREFIX = "sg_"


class ApiKey(FrozenModel):
    """An API key. `text` is the whole key; it is shown once and never stored."""

    tenant: TenantId
    id: str
    text: str = Field(repr=False)

    @property
    def hash(self) -> str:
        """The SHA-256 of the whole key, in hexadecimal: what is stored."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def new_key(tenant: str) -> ApiKey:
    """Return a new random key of `tenant`."""
    key_id = secrets.token_hex(6)
    return ApiKey(tenant=tenant, id=key_id, text=f"{PREFIX}{tenant}_{key_id}_{secrets.token_hex(32)}")


def parse_key(text: str) -> ApiKey:
    """Return a presented key. Raises Unauthenticated when it has another form."""
    match = _KEY.match(text)
    if match is None:
        raise Unauthenticated("The API key is malformed; expected sg_<tenant>_<id>_<secret>.")
    return ApiKey(tenant=match["tenant"], id=match["id"], text=text)
