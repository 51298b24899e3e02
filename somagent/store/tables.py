"""The tables, as queries see them. The migrations make them; a test holds both together.

Documents are `json`, not `jsonb`: the text stays as it was written, so its digest can be checked, and no character in
it (a NUL in a tool's output, say) is refused.
"""

from pgvector.sqlalchemy import VECTOR
from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSON, JSONB, TIMESTAMP

from capsules.amounts import DIMENSIONS

metadata = MetaData()
EMBEDDING_DIMENSIONS = 384


def text_column(name: str, *, null: bool = False, default: str | None = None) -> Column[str]:
    return Column(name, Text, nullable=null, server_default=None if default is None else text(f"'{default}'"))


def time_column(name: str, *, null: bool = False, now: bool = False) -> Column[object]:
    return Column(name, TIMESTAMP(timezone=True), nullable=null, server_default=text("now()") if now else None)


def tenant_column(*, known: bool = False) -> Column[str]:
    return Column("tenant_id", Text, *([ForeignKey("tenants.id")] if known else []), nullable=False)


def number_columns(*prefixes: str) -> list[Column[int]]:
    return [
        Column(f"{prefix}_{dimension}", BigInteger, nullable=False, server_default=text("0"))
        for prefix in prefixes
        for dimension in DIMENSIONS
    ]


tenants = Table("tenants", metadata, Column("id", Text, primary_key=True), time_column("created_at", now=True))

principals = Table(
    "principals",
    metadata,
    tenant_column(known=True),
    text_column("subject"),
    Column("capabilities", ARRAY(Text), nullable=False),
    time_column("created_at", now=True),
    PrimaryKeyConstraint("tenant_id", "subject"),
)

api_keys = Table(
    "api_keys",
    metadata,
    tenant_column(),
    text_column("hash"),
    text_column("subject"),
    time_column("created_at", now=True),
    time_column("revoked_at", null=True),
    PrimaryKeyConstraint("tenant_id", "hash"),
    ForeignKeyConstraint(["tenant_id", "subject"], ["principals.tenant_id", "principals.subject"]),
)

capsules = Table(
    "capsules",
    metadata,
    tenant_column(known=True),
    text_column("name"),
    text_column("version"),
    text_column("digest"),
    Column("document", JSON, nullable=False),
    text_column("signature"),
    text_column("key_id"),
    text_column("published_by"),
    time_column("published_at", now=True),
    PrimaryKeyConstraint("tenant_id", "name", "version"),
)

runs = Table(
    "runs",
    metadata,
    tenant_column(known=True),
    text_column("id"),
    text_column("capsule"),
    text_column("digest", null=True),
    text_column("actor"),
    text_column("parent", null=True),
    text_column("status"),
    text_column("reason", default=""),
    Column("step", Integer, nullable=False, server_default=text("0")),
    Column("inputs", JSON, nullable=False),
    text_column("request", null=True),
    Column("output", JSON, nullable=True),
    text_column("artifact", null=True),
    Column("lock", JSON, nullable=True),
    text_column("account", null=True),
    Column("receipt_seq", BigInteger, nullable=False, server_default=text("0")),
    text_column("receipt_head", default="sha256:" + "0" * 64),
    Column("decisions", Integer, nullable=False, server_default=text("0")),
    Column("denials", Integer, nullable=False, server_default=text("0")),
    Column("sequences", JSONB, nullable=False, server_default=text("'{}'")),
    time_column("created_at", now=True),
    time_column("updated_at", now=True),
    time_column("closed_at", null=True),
    time_column("pruned_at", null=True),
    PrimaryKeyConstraint("tenant_id", "id"),
    Index("runs_kept", "tenant_id", "created_at", postgresql_where=text("pruned_at IS NULL")),
    Index("runs_newest", "tenant_id", text("created_at DESC"), text("id DESC")),
    Index("runs_by_actor", "tenant_id", "actor", text("created_at DESC")),
    Index("runs_open", "tenant_id", "created_at", postgresql_where=text("closed_at IS NULL")),
)

receipts = Table(
    "receipts",
    metadata,
    tenant_column(),
    text_column("run"),
    Column("seq", BigInteger, nullable=False),
    time_column("at"),
    text_column("kind"),
    text_column("activity"),
    Column("attempt", Integer, nullable=False),
    Column("body", JSON, nullable=False),
    text_column("body_digest"),
    text_column("previous"),
    text_column("hash"),
    PrimaryKeyConstraint("tenant_id", "run", "seq"),
    ForeignKeyConstraint(["tenant_id", "run"], ["runs.tenant_id", "runs.id"]),
)

effects = Table(
    "effects",
    metadata,
    tenant_column(),
    text_column("key"),
    text_column("run"),
    text_column("kind"),
    text_column("target"),
    text_column("action"),
    text_column("state"),
    Column("attempt", Integer, nullable=False),
    text_column("account", null=True),
    *number_columns("reserved", "used"),
    Column("result", JSON, nullable=True),
    text_column("error", default=""),
    Column("outcomes", JSONB, nullable=False, server_default=text("'{}'")),
    time_column("started_at", now=True),
    time_column("finished_at", null=True),
    PrimaryKeyConstraint("tenant_id", "key"),
    ForeignKeyConstraint(["tenant_id", "run"], ["runs.tenant_id", "runs.id"]),
    Index("effects_by_target", "tenant_id", "kind", "target", text("started_at DESC")),
    Index("effects_by_time", "started_at", postgresql_using="brin"),
    Index("effects_open", "tenant_id", "run", "action", postgresql_where=text("state = 'started'")),
)

approvals = Table(
    "approvals",
    metadata,
    tenant_column(),
    text_column("id"),
    text_column("run"),
    text_column("action"),
    text_column("kind"),
    text_column("target"),
    text_column("sentence"),
    Column("demands", JSONB, nullable=False),
    Column("escalation", JSONB, nullable=False, server_default=text("'[]'")),
    Column("escalated", Integer, nullable=False, server_default=text("0")),
    text_column("requested_by"),
    time_column("requested_at", now=True),
    time_column("expires_at"),
    Column("answers", JSONB, nullable=False, server_default=text("'[]'")),
    text_column("state", default="pending"),
    text_column("decided_by", null=True),
    time_column("decided_at", null=True),
    text_column("comment", default=""),
    text_column("used_by", null=True),
    text_column("edited_to", null=True),
    text_column("edited_from", null=True),
    PrimaryKeyConstraint("tenant_id", "id"),
    ForeignKeyConstraint(["tenant_id", "run"], ["runs.tenant_id", "runs.id"]),
    ForeignKeyConstraint(["tenant_id", "edited_from"], ["approvals.tenant_id", "approvals.id"]),
    Index("approvals_newest", "tenant_id", text("requested_at DESC"), text("id DESC")),
    Index("approvals_by_action", "tenant_id", "run", "action"),
    Index(
        "approvals_one_pending",
        "tenant_id",
        "run",
        "action",
        unique=True,
        postgresql_where=text("state = 'pending'"),
    ),
    Index(
        "approvals_one_edit",
        "tenant_id",
        "edited_from",
        unique=True,
        postgresql_where=text("edited_from IS NOT NULL"),
    ),
)

delegations = Table(
    "delegations",
    metadata,
    tenant_column(),
    text_column("id"),
    text_column("capability"),
    text_column("delegator"),
    text_column("delegate"),
    text_column("reason", default=""),
    time_column("starts_at"),
    time_column("ends_at"),
    time_column("created_at", now=True),
    time_column("revoked_at", null=True),
    text_column("revoked_by", null=True),
    PrimaryKeyConstraint("tenant_id", "id"),
    ForeignKeyConstraint(["tenant_id", "delegator"], ["principals.tenant_id", "principals.subject"]),
    ForeignKeyConstraint(["tenant_id", "delegate"], ["principals.tenant_id", "principals.subject"]),
    Index("delegations_newest", "tenant_id", text("created_at DESC"), text("id DESC")),
    Index("delegations_open", "tenant_id", "delegate", "ends_at", postgresql_where=text("revoked_at IS NULL")),
)

standing_grants = Table(
    "standing_grants",
    metadata,
    tenant_column(known=True),
    text_column("id"),
    text_column("scope"),
    text_column("capability"),
    text_column("reason"),
    text_column("constitution"),
    text_column("granted_by"),
    time_column("granted_at", now=True),
    time_column("expires_at"),
    Column("uses", Integer, nullable=False),
    Column("uses_left", Integer, nullable=False),
    time_column("revoked_at", null=True),
    text_column("revoked_by", null=True),
    PrimaryKeyConstraint("tenant_id", "id"),
    Index("standing_grants_newest", "tenant_id", text("granted_at DESC"), text("id DESC")),
    Index(
        "standing_grants_open",
        "tenant_id",
        "constitution",
        "expires_at",
        postgresql_where=text("revoked_at IS NULL AND uses_left > 0"),
    ),
)

standing_uses = Table(
    "standing_uses",
    metadata,
    tenant_column(),
    text_column("effect"),
    text_column("standing"),
    text_column("run"),
    text_column("action"),
    time_column("used_at", now=True),
    PrimaryKeyConstraint("tenant_id", "effect", "action"),
    ForeignKeyConstraint(["tenant_id", "standing"], ["standing_grants.tenant_id", "standing_grants.id"]),
    ForeignKeyConstraint(["tenant_id", "run"], ["runs.tenant_id", "runs.id"]),
    Index("standing_uses_by_grant", "tenant_id", "standing", "used_at"),
)

content_blobs = Table(
    "content_blobs",
    metadata,
    tenant_column(),
    text_column("digest"),
    text_column("media_type"),
    Column("data", LargeBinary, nullable=False),
    time_column("created_at", now=True),
    time_column("last_put_at", now=True),
    PrimaryKeyConstraint("tenant_id", "digest"),
)

artifacts = Table(
    "artifacts",
    metadata,
    tenant_column(),
    text_column("run"),
    text_column("name"),
    text_column("media_type"),
    text_column("digest"),
    Column("size", BigInteger, nullable=False),
    time_column("created_at", now=True),
    PrimaryKeyConstraint("tenant_id", "run", "name", "digest"),
    ForeignKeyConstraint(["tenant_id", "run"], ["runs.tenant_id", "runs.id"]),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", BigInteger, primary_key=True),
    text_column("topic"),
    text_column("type"),
    tenant_column(),
    text_column("run", null=True),
    time_column("at", now=True),
    Column("data", JSON, nullable=False),
    time_column("published_at", null=True),
    Index("outbox_unpublished", "id", postgresql_where=text("published_at IS NULL")),
    Index("outbox_by_run", "tenant_id", "run", "id"),
    Index(
        "outbox_told",
        "at",
        postgresql_where=text("topic IN ('approval.events', 'budget.events', 'constitution.updated')"),
    ),
)

deliveries = Table(
    "deliveries",
    metadata,
    tenant_column(),
    Column("event", BigInteger, nullable=False),
    text_column("channel"),
    text_column("state", default="waiting"),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    time_column("due_at", now=True),
    text_column("said", default=""),
    time_column("created_at", now=True),
    time_column("ended_at", null=True),
    PrimaryKeyConstraint("tenant_id", "event", "channel"),
    Index("deliveries_due", "channel", "due_at", postgresql_where=text("state = 'waiting'")),
    Index("deliveries_newest", "tenant_id", text("event DESC"), text("channel DESC")),
)

memories = Table(
    "memories",
    metadata,
    tenant_column(),
    text_column("id"),
    text_column("space"),
    text_column("text"),
    Column("labels", JSONB, nullable=False, server_default=text("'{}'")),
    text_column("run"),
    text_column("key"),
    Column("embedding", VECTOR(EMBEDDING_DIMENSIONS), nullable=False),
    time_column("created_at", now=True),
    PrimaryKeyConstraint("tenant_id", "id"),
    Index("memories_one_key", "tenant_id", "key", unique=True),
    Index("memories_by_space", "tenant_id", "space"),
    Index(
        "memories_nearest",
        "embedding",
        postgresql_using="hnsw",
        postgresql_ops={"embedding": "vector_cosine_ops"},
    ),
)
