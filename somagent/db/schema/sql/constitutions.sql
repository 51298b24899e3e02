-- Constitutions: installed documents, their signatures, their activations, and proposals. The first three tables belong
-- to no tenant: the gate of every tenant reads them.

-- The document is encrypted with a codec key, with its digest as associated data. Each process that uses it checks the
-- digest of the decrypted document and its signatures, by keys that are files. So a changed row alone is refused.
CREATE TABLE constitutions (
    digest text PRIMARY KEY,
    sha3_512 text NOT NULL,
    name text NOT NULL,
    version text NOT NULL,
    sealed_by text NOT NULL,
    sealed bytea NOT NULL,
    state text NOT NULL DEFAULT 'installed' CHECK (state IN ('installed', 'revoked')),
    proposed_by text NOT NULL,
    installed_at timestamptz NOT NULL DEFAULT now(),
    revocation text
);

-- The signature is part of the primary key: a wrong signature must not block a right one by the same key.
CREATE TABLE constitution_signatures (
    digest text NOT NULL REFERENCES constitutions (digest),
    key_id text NOT NULL,
    signature text NOT NULL,
    added_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (digest, key_id, signature)
);

-- proof: the attestations of the proposer and the voters, or of the first start. Each process verifies them before it uses
-- the constitution. Rows are only added. Active for a tenant is the newest row of its own scope; if it has none, of '*'.
CREATE TABLE constitution_activations (
    id bigserial PRIMARY KEY,
    scope text NOT NULL,
    stage text NOT NULL CHECK (stage IN ('active', 'shadow')),
    digest text REFERENCES constitutions (digest),
    reason text NOT NULL,
    by text NOT NULL,
    proposal text,
    at timestamptz NOT NULL DEFAULT now(),
    proof jsonb NOT NULL DEFAULT '[]',
    CONSTRAINT constitution_activations_never_none CHECK (digest IS NOT NULL OR stage = 'shadow' OR scope <> '*')
);
CREATE INDEX constitution_activations_newest ON constitution_activations (scope, stage, id DESC);

-- The record of a proposal, which outlives its workflow. `since`: the newest activation when the proposal was examined.
-- After another activation the proofs do not hold any more. attestation, vote: digests of the attestations of the
-- proposer and of the last voter.
CREATE TABLE constitution_proposals (
    tenant_id text NOT NULL REFERENCES tenants (id),
    id text NOT NULL,
    digest text REFERENCES constitutions (digest),
    scope text NOT NULL,
    stage text NOT NULL CHECK (stage IN ('active', 'shadow')),
    reason text NOT NULL,
    narrows boolean NOT NULL,
    clears text,
    change text NOT NULL,
    request text NOT NULL,
    against text,
    since bigint,
    state text NOT NULL DEFAULT 'examining'
        CHECK (state IN ('examining', 'proving', 'comparing', 'awaiting_approval', 'approved', 'activated', 'refused',
                         'rejected', 'expired')),
    why text NOT NULL DEFAULT '',
    proposed_by text NOT NULL,
    proposed_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    quorum integer NOT NULL,
    approved_by text[] NOT NULL DEFAULT '{}',
    rejected_by text,
    comments jsonb NOT NULL DEFAULT '{}',
    keys text[] NOT NULL DEFAULT '{}',
    report json,
    narrower json,
    difference json,
    somabrain json,
    attestation text,
    vote text,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT constitution_proposals_duties CHECK (proposed_by <> ALL (approved_by)),
    CONSTRAINT constitution_proposals_quorum CHECK (quorum >= CASE stage WHEN 'shadow' THEN 0 ELSE 1 END),
    CONSTRAINT constitution_proposals_agreed
        CHECK (state NOT IN ('approved', 'activated') OR cardinality(approved_by) >= quorum)
);
CREATE INDEX constitution_proposals_newest ON constitution_proposals (tenant_id, proposed_at DESC, id DESC);

-- For the counts of a shadow: few receipts have one.
CREATE INDEX receipts_shadowed ON receipts (tenant_id, run, seq) WHERE (body -> 'shadow') IS NOT NULL;
