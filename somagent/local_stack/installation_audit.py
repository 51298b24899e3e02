"""Puts an installation's settings and keys on the audit when it starts with others than at the last start."""

from typing import Any

from pydantic import SecretStr

from somagent.db.transaction import Transaction
from somagent.identity.keys import PURPOSES, KeyRing
from somagent.settings import Settings

ACTOR = "bootstrap"
INSTALLATION = "installation"


async def audit_installation(tx: Transaction, settings: Settings, keyring: KeyRing) -> None:
    await _told(tx, "settings.changed", settings_of(settings))
    await _told(tx, "keys.changed", keys_of(keyring))


def settings_of(settings: Settings) -> dict[str, Any]:
    """Return the settings that are not as shipped. Of a secret only that it is set."""
    found = {}
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if value != field.get_default(call_default_factory=True):
            found[name] = "set" if isinstance(value, SecretStr) else _plain(value)
    return found


def keys_of(keyring: KeyRing) -> dict[str, list[str]]:
    """Return the ids of the public keys that count, by purpose, and of those that were revoked."""
    known = {purpose: sorted(keyring.public[purpose]) for purpose in PURPOSES}
    return known | {"revoked": sorted(one for ids in keyring.revoked.values() for one in ids)}


async def _told(tx: Transaction, action: str, details: dict[str, Any]) -> None:
    last = (await tx.audit.list(action=action, limit=1)).items
    if not last or last[0].body["details"] != details:
        await tx.audit.add(ACTOR, action, INSTALLATION, details)


def _plain(value: Any) -> Any:  # noqa: ANN401 - a setting
    """Return a setting as JSON. What holds other settings, such as a model's key, is told by its names alone."""
    if isinstance(value, dict):
        return {str(name): sorted(part) if isinstance(part, dict) else "set" for name, part in value.items()}
    return value if isinstance(value, bool | int) else str(value)
