"""The tables of the audit, as queries see them: entries, what waits for the sealer, the sequence, the blocks."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    PrimaryKeyConstraint,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import JSON, TIMESTAMP

from somagent.store.tables import metadata


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False)


def _number(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False)


def _time(name: str) -> Column[object]:
    return Column(name, TIMESTAMP(timezone=True), nullable=False)


audit_entries = Table(
    "audit_entries",
    metadata,
    Column("id", BigInteger, primary_key=True),
    _text("tenant_id"),
    _time("at"),
    _text("actor"),
    _text("action"),
    _text("subject"),
    Column("body", JSON, nullable=False),
    _text("hash"),
    Index("audit_entries_by_tenant", "tenant_id", "id"),
)

seal_pending = Table(
    "seal_pending",
    metadata,
    Column("id", BigInteger, primary_key=True),
    _text("tenant_id"),
    _text("kind"),
    _text("subject"),
    _number("number"),
    _text("hash"),
    Index("seal_pending_by_tenant", "tenant_id", "id"),
)

seal_leaves = Table(
    "seal_leaves",
    metadata,
    _text("tenant_id"),
    _number("seq"),
    _text("kind"),
    _text("subject"),
    _number("number"),
    _text("hash"),
    _number("height"),
    PrimaryKeyConstraint("tenant_id", "seq"),
    Index("seal_leaves_once", "tenant_id", "kind", "subject", "number", unique=True),
)

seal_blocks = Table(
    "seal_blocks",
    metadata,
    _text("tenant_id"),
    _number("height"),
    _number("first"),
    _number("last"),
    _text("root"),
    _text("previous"),
    _time("sealed_at"),
    _text("digest"),
    _text("key_id"),
    _text("signature"),
    PrimaryKeyConstraint("tenant_id", "height"),
    CheckConstraint("last >= first", name="seal_blocks_of_some"),
    Index("seal_blocks_by_first", "tenant_id", "first", unique=True),
)
