"""The tables of retention, as queries see them: a tenant's terms and its legal holds."""

from sqlalchemy import CheckConstraint, Column, ForeignKey, Integer, PrimaryKeyConstraint, Table, Text

from somagent.store.tables import metadata, text_column, time_column

retention = Table(
    "retention",
    metadata,
    Column("tenant_id", Text, ForeignKey("tenants.id"), primary_key=True),
    Column("content_days", Integer, CheckConstraint("content_days BETWEEN 1 AND 36500"), nullable=True),
    Column("memory_days", Integer, CheckConstraint("memory_days BETWEEN 1 AND 36500"), nullable=True),
    text_column("set_by"),
    time_column("set_at", now=True),
)

legal_holds = Table(
    "legal_holds",
    metadata,
    Column("tenant_id", Text, ForeignKey("tenants.id"), nullable=False),
    text_column("id"),
    text_column("scope"),
    text_column("reason"),
    text_column("placed_by"),
    time_column("placed_at", now=True),
    text_column("lifted_by", null=True),
    time_column("lifted_at", null=True),
    PrimaryKeyConstraint("tenant_id", "id"),
)
