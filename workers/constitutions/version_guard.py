"""Version guard: refuses to activate an older constitution version unless the change is a rollback."""

from capsules.constitutions.constitution import ConstitutionRecord
from capsules.constitutions.proposal import Change
from capsules.digest import Digest
from capsules.errors import ConstitutionRefused, NotFound
from capsules.names import version_key
from somagent.db.database import Database


async def refuse_older_version(
    db: Database, change: Change, record: ConstitutionRecord, against: Digest | None
) -> None:
    """Raise ConstitutionRefused when a change would return to a former or an older version in its scope."""
    if change.stage == "shadow":
        return
    ref = f"{record.name}@{record.version}"
    history = await db.constitutions.history(change.scope, stage="active")
    own = history[0].constitution if history else None
    earlier = await db.constitutions.history(change.scope, stage="active", of=record.digest)
    if own == record.digest:
        raise ConstitutionRefused(f"The constitution {ref} is active for {change.scope!r} already.")
    if change.reason == "rollback":
        if not earlier:
            raise ConstitutionRefused(f"The constitution {ref} was never active for {change.scope!r}; propose it.")
        return
    if earlier:
        raise ConstitutionRefused(
            f"The constitution {ref} was active for {change.scope!r} before. To have it back, roll back to it."
        )
    if against is not None:
        _require_newer(change, record, await _find(db, against))


def _require_newer(change: Change, record: ConstitutionRecord, active: ConstitutionRecord | None) -> None:
    if active is None or active.name != record.name or active.digest == record.digest:
        return
    ref, known = f"{record.name}@{record.version}", f"{active.name}@{active.version}"
    if version_key(record.version) < version_key(active.version):
        raise ConstitutionRefused(
            f"The constitution {ref} is older than {known}, which is active. Only a rollback may return to it."
        )
    if record.version == active.version and not change.overlaid:
        raise ConstitutionRefused(f"{known} is active with another content. Give the new one a new version.")


async def _find(db: Database, digest: Digest) -> ConstitutionRecord | None:
    try:
        return await db.constitutions.get(digest)
    except NotFound:
        return None
