"""Tables as queries name them: columns and their types. The SQL of the migrations owns everything else.

Columns that no query names are not here. `test_migrations.py` compares names and types with the database.

Documents are `json`, not `jsonb`: the stored text stays as it was written, so its digest can be checked, and every
character (a NUL in a tool's output, for example) is accepted.
"""

from collections.abc import Mapping
from typing import Any

from pgvector.sqlalchemy import VECTOR
from pydantic import BaseModel
from sqlalchemy import BigInteger, Boolean, Date, Integer, LargeBinary, Row, TableClause, Text, column, table
from sqlalchemy.dialects.postgresql import ARRAY, JSON, JSONB, TIMESTAMP
from sqlalchemy.types import TypeEngine

from capsules.budgets.amounts import DIMENSIONS

EMBEDDING_DIMENSIONS = 384
TYPES: Mapping[str, TypeEngine[Any]] = {
    "text": Text(),
    "texts": ARRAY(Text),
    "integer": Integer(),
    "bigint": BigInteger(),
    "boolean": Boolean(),
    "date": Date(),
    "timestamptz": TIMESTAMP(timezone=True),
    "json": JSON(),
    "jsonb": JSONB(),
    "bytea": LargeBinary(),
    "vector": VECTOR(EMBEDDING_DIMENSIONS),
}


def _table(name: str, **columns: str) -> TableClause:
    """Return a table. `columns` holds names by type, separated by spaces."""
    return table(name, *(column(each, TYPES[kind]) for kind, names in columns.items() for each in names.split()))


def _amounts(*prefixes: str) -> str:
    """Return the names of amounts' columns: one for each prefix and dimension."""
    return " ".join(f"{prefix}_{dimension}" for prefix in prefixes for dimension in DIMENSIONS)


codec_cut_over = _table("codec_cut_over", text="workflow", timestamptz="at")
tenants = _table("tenants", text="id state proof", integer="version", timestamptz="created_at changed_at")
principals = _table(
    "principals",
    text="tenant_id subject state proof",
    texts="capabilities",
    integer="version",
    timestamptz="created_at changed_at",
)
api_keys = _table(
    "api_keys",
    text="tenant_id hash subject id revoked_by reason proof",
    texts="capabilities",
    jsonb="confirmation",
    timestamptz="created_at revoked_at expires_at",
)
token_families = _table(
    "token_families",
    text="tenant_id id subject parent api_key client revoked_by reason",
    texts="capabilities",
    jsonb="confirmation",
    integer="generation",
    timestamptz="created_at renewed_at expires_at revoked_at",
)
capsules = _table(
    "capsules",
    text="tenant_id name version digest signature key_id published_by",
    json="document",
    timestamptz="published_at",
)

runs = _table(
    "runs",
    text="tenant_id id capsule digest actor parent status reason request artifact account",
    integer="step",
    json="inputs output lock",
    timestamptz="created_at updated_at closed_at pruned_at",
)
receipts = _table(
    "receipts",
    text="tenant_id run kind activity body_digest previous hash",
    bigint="seq",
    integer="attempt",
    json="body",
    timestamptz="at",
)
effects = _table("effects", text="tenant_id key run state", integer="attempt")
forecasts = _table("forecasts", text="tenant_id run capsule model", json="shape forecast", timestamptz="made_at")

approvals = _table(
    "approvals",
    text="tenant_id id run action kind target sentence requested_by state decided_by comment used_by "
    "edited_to edited_from",
    integer="escalated",
    jsonb="demands escalation answers",
    timestamptz="requested_at expires_at decided_at",
)
attestations = _table(
    "attestations",
    text="tenant_id id purpose subject run record token digest",
    bigint="number",
    timestamptz="used_at",
)
delegations = _table(
    "delegations",
    text="tenant_id id capability delegator delegate reason revoked_by attestation revocation",
    timestamptz="starts_at ends_at created_at revoked_at",
)
standing_grants = _table(
    "standing_grants",
    text="tenant_id id scope capability reason constitution granted_by revoked_by attestation revocation",
    integer="uses uses_left",
    timestamptz="granted_at expires_at revoked_at",
)

budget_accounts = _table(
    "budget_accounts",
    text="tenant_id id parent project period",
    bigint=_amounts("limit", "spent", "reserved", "overrun", "allowance", "credit")
    + " limit_seconds spent_seconds reserved_seconds rate_tokens rate_calls",
    date="period_start",
    timestamptz="created_at closed_at",
)
ledger_entries = _table(
    "ledger_entries",
    text="tenant_id account kind key by",
    bigint="id spent_seconds reserved_seconds " + _amounts("limit", "spent", "reserved"),
    timestamptz="at",
)

constitutions = _table(
    "constitutions",
    text="digest sha3_512 name version sealed_by state proposed_by revocation",
    bytea="sealed",
    timestamptz="installed_at",
)
constitution_signatures = _table("constitution_signatures", text="digest key_id signature", timestamptz="added_at")
constitution_activations = _table(
    "constitution_activations",
    text="scope stage digest reason by proposal",
    bigint="id",
    timestamptz="at",
    jsonb="proof",
)
constitution_proposals = _table(
    "constitution_proposals",
    text="tenant_id id digest scope stage reason clears change request against state why proposed_by rejected_by "
    "attestation vote",
    texts="approved_by keys",
    integer="quorum",
    bigint="since",
    boolean="narrows",
    json="report narrower difference somabrain",
    jsonb="comments",
    timestamptz="proposed_at expires_at updated_at",
)

audit_entries = _table(
    "audit_entries", text="tenant_id actor action subject hash", bigint="id", json="body", timestamptz="at"
)
seal_leaves = _table("seal_leaves", text="tenant_id kind subject hash", bigint="seq number height")
seal_blocks = _table(
    "seal_blocks",
    text="tenant_id root previous digest key_id signature",
    bigint="height first last",
    timestamptz="sealed_at",
)

outbox = _table("outbox", text="topic type tenant_id run", bigint="id", json="data", timestamptz="at published_at")
deliveries = _table(
    "deliveries",
    text="tenant_id channel state said",
    integer="attempts",
    bigint="event",
    timestamptz="due_at created_at ended_at",
)

content_blobs = _table(
    "content_blobs", text="tenant_id digest media_type", bytea="data", timestamptz="created_at last_put_at"
)
artifacts = _table("artifacts", text="tenant_id run name media_type digest", bigint="size", timestamptz="created_at")
memories = _table(
    "memories",
    text="tenant_id id space text run key",
    jsonb="labels",
    vector="embedding",
    timestamptz="created_at",
)
retention = _table("retention", text="tenant_id set_by", integer="content_days memory_days", timestamptz="set_at")
legal_holds = _table(
    "legal_holds", text="tenant_id id scope reason placed_by lifted_by", timestamptz="placed_at lifted_at"
)


def from_row[M: BaseModel](model: type[M], row: Row[*tuple[Any, ...]], **others: Any) -> M:  # noqa: ANN401 - values of fields
    """Return a model of those columns of a row that it has fields for, and of `others`. Raises ValidationError."""
    columns = {name: value for name, value in row._mapping.items() if name in model.model_fields}  # noqa: SLF001 - SQLAlchemy's public name for it
    return model.model_validate(columns | others)
