"""The tables, as queries see them. The migrations make them; a test holds both together.

Documents are `json`, not `jsonb`: the text stays as it was written, so its digest can be checked, and no character in
it (a NUL in a tool's output, say) is refused.
"""

from pgvector.sqlalchemy import VECTOR
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
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


def _text(name: str, *, null: bool = False, default: str | None = None) -> Column[str]:
    return Column(name, Text, nullable=null, server_default=None if default is None else text(f"'{default}'"))


def _time(name: str, *, null: bool = False, now: bool = False) -> Column[object]:
    return Column(name, TIMESTAMP(timezone=True), nullable=null, server_default=text("now()") if now else None)


def _tenant(*, known: bool = False) -> Column[str]:
    return Column("tenant_id", Text, *([ForeignKey("tenants.id")] if known else []), nullable=False)


def _numbers(*prefixes: str) -> list[Column[int]]:
    return [
        Column(f"{prefix}_{dimension}", BigInteger, nullable=False, server_default=text("0"))
        for prefix in prefixes
        for dimension in DIMENSIONS
    ]


tenants = Table("tenants", metadata, Column("id", Text, primary_key=True), _time("created_at", now=True))

principals = Table(
    "principals",
    metadata,
    _tenant(known=True),
    _text("subject"),
    Column("capabilities", ARRAY(Text), nullable=False),
    _time("created_at", now=True),
    PrimaryKeyConstraint("tenant_id", "subject"),
)

api_keys = Table(
    "api_keys",
    metadata,
    _tenant(),
    _text("hash"),
    _text("subject"),
    _time("created_at", now=True),
    _time("revoked_at", null=True),
    PrimaryKeyConstraint("tenant_id", "hash"),
    ForeignKeyConstraint(["tenant_id", "subject"], ["principals.tenant_id", "principals.subject"]),
)

capsules = Table(
    "capsules",
    metadata,
    _tenant(known=True),
    _text("name"),
    _text("version"),
    _text("digest"),
    Column("document", JSON, nullable=False),
    _text("signature"),
    _text("key_id"),
    _text("published_by"),
    _time("published_at", now=True),
    PrimaryKeyConstraint("tenant_id", "name", "version"),
)

runs = Table(
    "runs",
    metadata,
    _tenant(known=True),
    _text("id"),
    _text("capsule"),
    _text("digest", null=True),
    _text("actor"),
    _text("parent", null=True),
    _text("status"),
    _text("reason", default=""),
    Column("step", Integer, nullable=False, server_default=text("0")),
    Column("inputs", JSON, nullable=False),
    _text("request", null=True),
    Column("output", JSON, nullable=True),
    _text("artifact", null=True),
    Column("lock", JSON, nullable=True),
    _text("account", null=True),
    Column("receipt_seq", BigInteger, nullable=False, server_default=text("0")),
    _text("receipt_head", default="sha256:" + "0" * 64),
    Column("decisions", Integer, nullable=False, server_default=text("0")),
    Column("denials", Integer, nullable=False, server_default=text("0")),
    Column("sequences", JSONB, nullable=False, server_default=text("'{}'")),
    _time("created_at", now=True),
    _time("updated_at", now=True),
    _time("closed_at", null=True),
    PrimaryKeyConstraint("tenant_id", "id"),
    Index("runs_newest", "tenant_id", text("created_at DESC"), text("id DESC")),
    Index("runs_by_actor", "tenant_id", "actor", text("created_at DESC")),
    Index("runs_open", "tenant_id", "created_at", postgresql_where=text("closed_at IS NULL")),
)

receipts = Table(
    "receipts",
    metadata,
    _tenant(),
    _text("run"),
    Column("seq", BigInteger, nullable=False),
    _time("at"),
    _text("kind"),
    _text("activity"),
    Column("attempt", Integer, nullable=False),
    Column("body", JSON, nullable=False),
    _text("body_digest"),
    _text("previous"),
    _text("hash"),
    PrimaryKeyConstraint("tenant_id", "run", "seq"),
    ForeignKeyConstraint(["tenant_id", "run"], ["runs.tenant_id", "runs.id"]),
)

effects = Table(
    "effects",
    metadata,
    _tenant(),
    _text("key"),
    _text("run"),
    _text("kind"),
    _text("target"),
    _text("action"),
    _text("state"),
    Column("attempt", Integer, nullable=False),
    _text("account", null=True),
    *_numbers("reserved", "used"),
    Column("result", JSON, nullable=True),
    _text("error", default=""),
    Column("outcomes", JSONB, nullable=False, server_default=text("'{}'")),
    _time("started_at", now=True),
    _time("finished_at", null=True),
    PrimaryKeyConstraint("tenant_id", "key"),
    ForeignKeyConstraint(["tenant_id", "run"], ["runs.tenant_id", "runs.id"]),
    Index("effects_by_target", "tenant_id", "kind", "target", text("started_at DESC")),
    Index("effects_open", "tenant_id", "run", "action", postgresql_where=text("state = 'started'")),
)

approvals = Table(
    "approvals",
    metadata,
    _tenant(),
    _text("id"),
    _text("run"),
    _text("action"),
    _text("kind"),
    _text("target"),
    _text("sentence"),
    Column("demands", JSONB, nullable=False),
    Column("escalation", JSONB, nullable=False, server_default=text("'[]'")),
    Column("escalated", Integer, nullable=False, server_default=text("0")),
    _text("requested_by"),
    _time("requested_at", now=True),
    _time("expires_at"),
    Column("answers", JSONB, nullable=False, server_default=text("'[]'")),
    _text("state", default="pending"),
    _text("decided_by", null=True),
    _time("decided_at", null=True),
    _text("comment", default=""),
    _text("used_by", null=True),
    _text("edited_to", null=True),
    _text("edited_from", null=True),
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
    _tenant(),
    _text("id"),
    _text("capability"),
    _text("delegator"),
    _text("delegate"),
    _text("reason", default=""),
    _time("starts_at"),
    _time("ends_at"),
    _time("created_at", now=True),
    _time("revoked_at", null=True),
    _text("revoked_by", null=True),
    PrimaryKeyConstraint("tenant_id", "id"),
    ForeignKeyConstraint(["tenant_id", "delegator"], ["principals.tenant_id", "principals.subject"]),
    ForeignKeyConstraint(["tenant_id", "delegate"], ["principals.tenant_id", "principals.subject"]),
    Index("delegations_newest", "tenant_id", text("created_at DESC"), text("id DESC")),
    Index("delegations_open", "tenant_id", "delegate", "ends_at", postgresql_where=text("revoked_at IS NULL")),
)

standing_grants = Table(
    "standing_grants",
    metadata,
    _tenant(known=True),
    _text("id"),
    _text("scope"),
    _text("capability"),
    _text("reason"),
    _text("constitution"),
    _text("granted_by"),
    _time("granted_at", now=True),
    _time("expires_at"),
    Column("uses", Integer, nullable=False),
    Column("uses_left", Integer, nullable=False),
    _time("revoked_at", null=True),
    _text("revoked_by", null=True),
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
    _tenant(),
    _text("effect"),
    _text("standing"),
    _text("run"),
    _text("action"),
    _time("used_at", now=True),
    PrimaryKeyConstraint("tenant_id", "effect", "action"),
    ForeignKeyConstraint(["tenant_id", "standing"], ["standing_grants.tenant_id", "standing_grants.id"]),
    ForeignKeyConstraint(["tenant_id", "run"], ["runs.tenant_id", "runs.id"]),
    Index("standing_uses_by_grant", "tenant_id", "standing", "used_at"),
)

budget_accounts = Table(
    "budget_accounts",
    metadata,
    _tenant(known=True),
    _text("id"),
    _text("parent", null=True),
    *_numbers("limit", "spent", "reserved", "overrun"),
    _time("created_at", now=True),
    _time("closed_at", null=True),
    PrimaryKeyConstraint("tenant_id", "id"),
    ForeignKeyConstraint(["tenant_id", "parent"], ["budget_accounts.tenant_id", "budget_accounts.id"]),
    *(
        CheckConstraint(
            f"limit_{d} >= 0 AND spent_{d} >= 0 AND reserved_{d} >= 0 AND overrun_{d} >= 0 "
            f"AND spent_{d} + reserved_{d} <= limit_{d} + overrun_{d}",
            name=f"budget_accounts_{d}",
        )
        for d in DIMENSIONS
    ),
)

ledger_entries = Table(
    "ledger_entries",
    metadata,
    Column("id", BigInteger, primary_key=True),
    _tenant(),
    _text("account"),
    _text("kind"),
    _text("key"),
    _text("by", default=""),
    *_numbers("limit", "spent", "reserved"),
    _time("at", now=True),
    ForeignKeyConstraint(["tenant_id", "account"], ["budget_accounts.tenant_id", "budget_accounts.id"]),
    Index("ledger_entries_by_account", "tenant_id", "account", "id"),
    Index(
        "ledger_entries_one_raise", "tenant_id", "account", "key", unique=True, postgresql_where=text("kind = 'raise'")
    ),
)

content_blobs = Table(
    "content_blobs",
    metadata,
    _tenant(),
    _text("digest"),
    _text("media_type"),
    Column("data", LargeBinary, nullable=False),
    _time("created_at", now=True),
    PrimaryKeyConstraint("tenant_id", "digest"),
)

artifacts = Table(
    "artifacts",
    metadata,
    _tenant(),
    _text("run"),
    _text("name"),
    _text("media_type"),
    _text("digest"),
    Column("size", BigInteger, nullable=False),
    _time("created_at", now=True),
    PrimaryKeyConstraint("tenant_id", "run", "name", "digest"),
    ForeignKeyConstraint(["tenant_id", "run"], ["runs.tenant_id", "runs.id"]),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", BigInteger, primary_key=True),
    _text("topic"),
    _text("type"),
    _tenant(),
    _text("run", null=True),
    _time("at", now=True),
    Column("data", JSON, nullable=False),
    _time("published_at", null=True),
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
    _tenant(),
    Column("event", BigInteger, nullable=False),
    _text("channel"),
    _text("state", default="waiting"),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    _time("due_at", now=True),
    _text("said", default=""),
    _time("created_at", now=True),
    _time("ended_at", null=True),
    PrimaryKeyConstraint("tenant_id", "event", "channel"),
    Index("deliveries_due", "channel", "due_at", postgresql_where=text("state = 'waiting'")),
    Index("deliveries_newest", "tenant_id", text("event DESC"), text("channel DESC")),
)

memories = Table(
    "memories",
    metadata,
    _tenant(),
    _text("id"),
    _text("space"),
    _text("text"),
    Column("labels", JSONB, nullable=False, server_default=text("'{}'")),
    _text("run"),
    _text("key"),
    Column("embedding", VECTOR(EMBEDDING_DIMENSIONS), nullable=False),
    _time("created_at", now=True),
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
