"""Constitutions in tests: signed by real keys, installed and made active as the owner of the database does it."""

import copy
from typing import Any

from capsules.constitutions.constitution import ConstitutionRecord
from capsules.constitutions.proposal import EVERYBODY
from somagent.capsule_files.library import Library
from somagent.db.database import Database
from somagent.identity.keys import KeyRing
from somagent.local_stack.bootstrap import attest_activation, sign_constitution
from somagent.settings import Settings


def key_ring(settings: Settings) -> KeyRing:
    """Return the keys of a home, made where there are none."""
    return KeyRing.create_missing(settings.keys_dir)


async def make_active(owner: Database, record: ConstitutionRecord, *, scope: str = EVERYBODY) -> ConstitutionRecord:
    """Install and activate without a proposal, unless it is active already."""
    await owner.constitutions.install(record)
    if await owner.constitutions.active_digest(scope) != record.digest:
        token = attest_activation(owner.tokens, record, scope, by="tests", reason="test")
        await owner.constitutions.activate(record.digest, scope=scope, by="tests", reason="test", token=token)
    return record


async def activate_document(
    owner: Database, keyring: KeyRing, document: dict[str, Any], *, scope: str = EVERYBODY
) -> ConstitutionRecord:
    """Sign, install and activate a document."""
    return await make_active(owner, sign_constitution(keyring, document), scope=scope)


def default(version: str = "1.0.0", **changes: Any) -> dict[str, Any]:
    """Return the shipped document with another version and other members."""
    document = copy.deepcopy(Library.load().constitution)
    document["metadata"]["version"] = version
    return document | changes
