"""The tables of the budget tree, as queries see them: accounts and the ledger's entries."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Date,
    ForeignKeyConstraint,
    Index,
    PrimaryKeyConstraint,
    Table,
    text,
)

from capsules.amounts import DIMENSIONS
from somagent.store.tables import metadata, number_columns, tenant_column, text_column, time_column


def _seconds() -> list[Column[int]]:
    return [
        Column(f"{prefix}_seconds", BigInteger, nullable=False, server_default=text("0"))
        for prefix in ("spent", "reserved")
    ]


budget_accounts = Table(
    "budget_accounts",
    metadata,
    tenant_column(known=True),
    text_column("id"),
    text_column("parent", null=True),
    text_column("project", null=True),
    text_column("period", null=True),
    Column("period_start", Date, nullable=True),
    *number_columns("limit", "spent", "reserved", "overrun", "allowance", "credit"),
    Column("limit_seconds", BigInteger, nullable=True),
    *_seconds(),
    Column("rate_tokens", BigInteger, nullable=True),
    Column("rate_calls", BigInteger, nullable=True),
    time_column("created_at", now=True),
    time_column("closed_at", null=True),
    PrimaryKeyConstraint("tenant_id", "id"),
    ForeignKeyConstraint(["tenant_id", "parent"], ["budget_accounts.tenant_id", "budget_accounts.id"]),
    Index("budget_accounts_open", "tenant_id", "parent", postgresql_where=text("closed_at IS NULL")),
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
    tenant_column(),
    text_column("account"),
    text_column("kind"),
    text_column("key"),
    text_column("by", default=""),
    *number_columns("limit", "spent", "reserved"),
    *_seconds(),
    time_column("at", now=True),
    ForeignKeyConstraint(["tenant_id", "account"], ["budget_accounts.tenant_id", "budget_accounts.id"]),
    Index("ledger_entries_by_account", "tenant_id", "account", "id"),
    Index(
        "ledger_entries_once",
        "tenant_id",
        "account",
        "kind",
        "key",
        unique=True,
        postgresql_where=text("kind IN ('raise', 'credit', 'clock', 'clocked')"),
    ),
)
