-- The audit: entries of changes, and the blocks over them, receipts, entries of the ledger, and admitted runs.

-- One change of something that governs runs. `body` is canonical JSON, and `hash` its digest.
CREATE TABLE audit_entries (
    id bigserial PRIMARY KEY,
    tenant_id text NOT NULL,
    at timestamptz NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    subject text NOT NULL,
    body json NOT NULL,
    hash text NOT NULL
);
CREATE INDEX audit_entries_by_tenant ON audit_entries (tenant_id, id);

-- The queue of records that are in no block yet. So the sealer does not read old records, and a record of a transaction
-- that commits late is not missed.
CREATE TABLE seal_pending (
    id bigserial,
    tenant_id text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('receipt', 'audit', 'ledger', 'run')),
    subject text NOT NULL,
    number bigint NOT NULL,
    hash text NOT NULL,
    PRIMARY KEY (tenant_id, id)
);

-- A tenant's records in one sequence without gaps. The sealer numbers them, so that actions do not wait for each other.
CREATE TABLE seal_leaves (
    tenant_id text NOT NULL,
    seq bigint NOT NULL CHECK (seq > 0),
    kind text NOT NULL CHECK (kind IN ('receipt', 'audit', 'ledger', 'run')),
    subject text NOT NULL,
    number bigint NOT NULL,
    hash text NOT NULL,
    height bigint NOT NULL,
    PRIMARY KEY (tenant_id, seq)
);
CREATE UNIQUE INDEX seal_leaves_once ON seal_leaves (tenant_id, kind, subject, number);

CREATE TABLE seal_blocks (
    tenant_id text NOT NULL,
    height bigint NOT NULL CHECK (height > 0),
    first bigint NOT NULL,
    last bigint NOT NULL,
    root text NOT NULL,
    previous text NOT NULL,
    sealed_at timestamptz NOT NULL,
    digest text NOT NULL,
    key_id text NOT NULL,
    signature text NOT NULL,
    PRIMARY KEY (tenant_id, height),
    CONSTRAINT seal_blocks_of_some CHECK (last >= first)
);
CREATE UNIQUE INDEX seal_blocks_by_first ON seal_blocks (tenant_id, first);
