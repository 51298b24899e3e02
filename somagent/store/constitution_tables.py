"""The tables of constitutions, as queries see them: documents, signatures, what is active where, and proposals."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSON, JSONB, TIMESTAMP

from somagent.store.tables import metadata, receipts


def _text(name: str, *, null: bool = False, default: str | None = None) -> Column[str]:
    return Column(name, Text, nullable=null, server_default=None if default is None else text(f"'{default}'"))


def _now(name: str) -> Column[object]:
    return Column(name, TIMESTAMP(timezone=True), nullable=False, server_default=text("now()"))


constitutions = Table(
    "constitutions",
    metadata,
    Column("digest", Text, primary_key=True),
    _text("sha3_512"),
    _text("name"),
    _text("version"),
    _text("sealed_by"),
    Column("sealed", LargeBinary, nullable=False),
    _text("state", default="installed"),
    _text("proposed_by"),
    _now("installed_at"),
)

constitution_signatures = Table(
    "constitution_signatures",
    metadata,
    Column("digest", Text, ForeignKey("constitutions.digest"), nullable=False),
    _text("key_id"),
    _text("signature"),
    _now("added_at"),
    PrimaryKeyConstraint("digest", "key_id", "signature"),
)

constitution_activations = Table(
    "constitution_activations",
    metadata,
    Column("id", BigInteger, primary_key=True),
    _text("scope"),
    _text("stage"),
    Column("digest", Text, ForeignKey("constitutions.digest"), nullable=True),
    _text("reason"),
    _text("by"),
    _text("proposal", null=True),
    _now("at"),
    CheckConstraint(
        "digest IS NOT NULL OR stage = 'shadow' OR scope <> '*'", name="constitution_activations_never_none"
    ),
    Index("constitution_activations_newest", "scope", "stage", text("id DESC")),
)

constitution_proposals = Table(
    "constitution_proposals",
    metadata,
    Column("tenant_id", Text, ForeignKey("tenants.id"), nullable=False),
    _text("id"),
    Column("digest", Text, ForeignKey("constitutions.digest"), nullable=True),
    _text("scope"),
    _text("stage"),
    _text("reason"),
    Column("narrows", Boolean, nullable=False),
    _text("clears", null=True),
    _text("change"),
    _text("request"),
    _text("against", null=True),
    Column("since", BigInteger, nullable=True),
    _text("state", default="examining"),
    _text("why", default=""),
    _text("proposed_by"),
    _now("proposed_at"),
    Column("expires_at", TIMESTAMP(timezone=True), nullable=False),
    _now("updated_at"),
    Column("quorum", Integer, nullable=False),
    Column("approved_by", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    _text("rejected_by", null=True),
    Column("comments", JSONB, nullable=False, server_default=text("'{}'")),
    Column("keys", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("report", JSON, nullable=True),
    Column("narrower", JSON, nullable=True),
    Column("difference", JSON, nullable=True),
    Column("somabrain", JSON, nullable=True),
    PrimaryKeyConstraint("tenant_id", "id"),
    Index("constitution_proposals_newest", "tenant_id", text("proposed_at DESC"), text("id DESC")),
)

Index(
    "receipts_shadowed",
    receipts.c.tenant_id,
    receipts.c.run,
    receipts.c.seq,
    postgresql_where=text("(body -> 'shadow') IS NOT NULL"),
)
