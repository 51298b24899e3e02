-- The tables of attestations, of what they let begin, and of the decisions made before attestations were recorded.

-- The signed tokens of people's decisions. The primary key lets each be used once.
CREATE TABLE attestations (
    tenant_id text NOT NULL REFERENCES tenants (id),
    id text NOT NULL,
    purpose text NOT NULL,
    subject text NOT NULL,
    run text,
    record text NOT NULL,
    token text NOT NULL,
    digest text NOT NULL,
    used_at timestamptz NOT NULL,
    number bigserial NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX attestations_by_record ON attestations (tenant_id, record);
CREATE INDEX attestations_by_number ON attestations (tenant_id, number);

-- The effect that an approval let begin: one for each approval, whatever its state says.
CREATE TABLE approval_uses (
    tenant_id text NOT NULL,
    approval text NOT NULL,
    effect text NOT NULL,
    used_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, approval),
    FOREIGN KEY (tenant_id, approval) REFERENCES approvals (tenant_id, id)
);

-- Decisions of before attestations were recorded, as an upgrade found them; a new database has none. They count without
-- an attestation. scope: the tenant, or `*`.
CREATE TABLE legacy_decisions (
    scope text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('raise', 'activation')),
    id text NOT NULL,
    PRIMARY KEY (scope, kind, id)
);
