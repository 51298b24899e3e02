-- Constitutions: what was installed, who signed it, what is active where, and the proposals that made it so.
-- The first three are of no tenant: the gate of every tenant reads them.

-- The document is encrypted with a codec key of the key ring, its digest as associated data. What is decrypted must
-- give the digest again and carry enough signatures by keys that are files, not rows. So a row alone, whoever wrote it,
-- makes nothing run: documents are checked each time a process takes one into use.
CREATE TABLE constitutions (
    digest text PRIMARY KEY,
    sha3_512 text NOT NULL,
    name text NOT NULL,
    version text NOT NULL,
    sealed_by text NOT NULL,
    sealed bytea NOT NULL,
    state text NOT NULL DEFAULT 'installed' CHECK (state IN ('installed', 'revoked')),
    proposed_by text NOT NULL,
    installed_at timestamptz NOT NULL DEFAULT now()
);

-- The signature is part of the key: a wrong one that came first must not keep the right one out.
CREATE TABLE constitution_signatures (
    digest text NOT NULL REFERENCES constitutions (digest),
    key_id text NOT NULL,
    signature text NOT NULL,
    added_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (digest, key_id, signature)
);

-- Only added to. Active for a tenant is the newest of its own scope, or where that has none, of '*'.
CREATE TABLE constitution_activations (
    id bigserial PRIMARY KEY,
    scope text NOT NULL,
    stage text NOT NULL CHECK (stage IN ('active', 'shadow')),
    digest text REFERENCES constitutions (digest),
    reason text NOT NULL,
    by text NOT NULL,
    proposal text,
    at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT constitution_activations_never_none CHECK (digest IS NOT NULL OR stage = 'shadow' OR scope <> '*')
);
CREATE INDEX constitution_activations_newest ON constitution_activations (scope, stage, id DESC);

-- What the workflow knows of a proposal, for those who ask after it has ended. `since`: the newest activation when it
-- was examined; what was proved then says nothing once another one has come.
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
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT constitution_proposals_duties CHECK (proposed_by <> ALL (approved_by)),
    CONSTRAINT constitution_proposals_quorum CHECK (quorum >= CASE stage WHEN 'shadow' THEN 0 ELSE 1 END),
    CONSTRAINT constitution_proposals_agreed
        CHECK (state NOT IN ('approved', 'activated') OR cardinality(approved_by) >= quorum)
);
CREATE INDEX constitution_proposals_newest ON constitution_proposals (tenant_id, proposed_at DESC, id DESC);

-- Few receipts have a shadow; its differences are counted from them alone.
CREATE INDEX receipts_shadowed ON receipts (tenant_id, run, seq) WHERE (body -> 'shadow') IS NOT NULL;
