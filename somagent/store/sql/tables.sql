-- The tables. Everything of a tenant carries tenant_id first in its key, so one tenant cannot even learn by a collision
-- that another has a row.

CREATE EXTENSION IF NOT EXISTS vector;

-- A cost in every dimension; the JSON form has the same three names.
CREATE TYPE amounts AS (tokens bigint, micro_usd bigint, tool_calls bigint);

CREATE TABLE tenants (
    id text PRIMARY KEY CHECK (id ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE constitutions (
    digest text PRIMARY KEY,
    name text NOT NULL,
    version text NOT NULL,
    document json NOT NULL,
    signature text NOT NULL,
    key_id text NOT NULL,
    state text NOT NULL CHECK (state IN ('active', 'retired', 'revoked')),
    installed_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX constitutions_one_active ON constitutions (state) WHERE state = 'active';

CREATE TABLE principals (
    tenant_id text NOT NULL REFERENCES tenants (id),
    subject text NOT NULL,
    capabilities text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, subject)
);

CREATE TABLE api_keys (
    tenant_id text NOT NULL,
    hash text NOT NULL,
    subject text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz,
    PRIMARY KEY (tenant_id, hash),
    FOREIGN KEY (tenant_id, subject) REFERENCES principals (tenant_id, subject)
);

CREATE TABLE capsules (
    tenant_id text NOT NULL REFERENCES tenants (id),
    name text NOT NULL,
    version text NOT NULL,
    digest text NOT NULL,
    document json NOT NULL,
    signature text NOT NULL,
    key_id text NOT NULL,
    published_by text NOT NULL,
    published_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, name, version)
);

-- Room on each page lets PostgreSQL change a row in place: these are updated by every action of a run.
CREATE TABLE runs (
    tenant_id text NOT NULL REFERENCES tenants (id),
    id text NOT NULL,
    capsule text NOT NULL,
    digest text,
    actor text NOT NULL,
    parent text,
    status text NOT NULL CHECK (status IN ('starting', 'running', 'paused', 'awaiting_approval', 'awaiting_budget',
                                           'completed', 'failed', 'cancelled')),
    reason text NOT NULL DEFAULT '',
    step integer NOT NULL DEFAULT 0,
    inputs json NOT NULL,
    request text,
    output json,
    artifact text,
    lock json,
    account text,
    receipt_seq bigint NOT NULL DEFAULT 0,
    receipt_head text NOT NULL DEFAULT 'sha256:0000000000000000000000000000000000000000000000000000000000000000',
    denials integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    closed_at timestamptz,
    PRIMARY KEY (tenant_id, id)
) WITH (fillfactor = 70);
CREATE INDEX runs_newest ON runs (tenant_id, created_at DESC, id DESC);
CREATE INDEX runs_open ON runs (tenant_id, created_at) WHERE closed_at IS NULL;

CREATE TABLE receipts (
    tenant_id text NOT NULL,
    run text NOT NULL,
    seq bigint NOT NULL,
    at timestamptz NOT NULL,
    kind text NOT NULL CHECK (kind IN ('decision', 'outcome')),
    activity text NOT NULL,
    attempt integer NOT NULL,
    body json NOT NULL,
    body_digest text NOT NULL,
    previous text NOT NULL,
    hash text NOT NULL,
    PRIMARY KEY (tenant_id, run, seq),
    FOREIGN KEY (tenant_id, run) REFERENCES runs (tenant_id, id)
);

-- `charged`: given up as uncertain; its whole reservation counts as spent until the effect reports after all.
CREATE TABLE effects (
    tenant_id text NOT NULL,
    key text NOT NULL,
    run text NOT NULL,
    kind text NOT NULL,
    target text NOT NULL,
    action text NOT NULL,
    state text NOT NULL CHECK (state IN ('started', 'done', 'failed', 'charged')),
    attempt integer NOT NULL,
    account text,
    reserved_tokens bigint NOT NULL DEFAULT 0,
    reserved_micro_usd bigint NOT NULL DEFAULT 0,
    reserved_tool_calls bigint NOT NULL DEFAULT 0,
    used_tokens bigint NOT NULL DEFAULT 0,
    used_micro_usd bigint NOT NULL DEFAULT 0,
    used_tool_calls bigint NOT NULL DEFAULT 0,
    result json,
    error text NOT NULL DEFAULT '',
    outcomes jsonb NOT NULL DEFAULT '{}',
    started_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    PRIMARY KEY (tenant_id, key),
    FOREIGN KEY (tenant_id, run) REFERENCES runs (tenant_id, id)
) WITH (fillfactor = 70);
CREATE INDEX effects_open ON effects (tenant_id, run, action) WHERE state = 'started';

CREATE TABLE approvals (
    tenant_id text NOT NULL,
    id text NOT NULL,
    run text NOT NULL,
    action text NOT NULL,
    kind text NOT NULL,
    target text NOT NULL,
    sentence text NOT NULL,
    capability text NOT NULL,
    requested_by text NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    quorum integer NOT NULL DEFAULT 1 CHECK (quorum >= 1),
    approved_by text[] NOT NULL DEFAULT '{}',
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'approved', 'denied', 'expired', 'used')),
    decided_by text,
    decided_at timestamptz,
    comment text NOT NULL DEFAULT '',
    used_by text,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, run) REFERENCES runs (tenant_id, id),
    CONSTRAINT approvals_duties CHECK (decided_by <> requested_by AND requested_by <> ALL (approved_by)),
    CONSTRAINT approvals_quorum CHECK (state NOT IN ('approved', 'used') OR cardinality(approved_by) >= quorum),
    CONSTRAINT approvals_used_once CHECK ((state = 'used') = (used_by IS NOT NULL))
);
CREATE INDEX approvals_newest ON approvals (tenant_id, requested_at DESC, id DESC);
CREATE INDEX approvals_by_action ON approvals (tenant_id, run, action);
CREATE UNIQUE INDEX approvals_one_pending ON approvals (tenant_id, run, action) WHERE state = 'pending';

-- `overrun` is by how much spending, recorded truthfully, has passed the limit. Reserving and carving never add to it.
CREATE TABLE budget_accounts (
    tenant_id text NOT NULL REFERENCES tenants (id),
    id text NOT NULL,
    parent text,
    limit_tokens bigint NOT NULL DEFAULT 0,
    limit_micro_usd bigint NOT NULL DEFAULT 0,
    limit_tool_calls bigint NOT NULL DEFAULT 0,
    spent_tokens bigint NOT NULL DEFAULT 0,
    spent_micro_usd bigint NOT NULL DEFAULT 0,
    spent_tool_calls bigint NOT NULL DEFAULT 0,
    reserved_tokens bigint NOT NULL DEFAULT 0,
    reserved_micro_usd bigint NOT NULL DEFAULT 0,
    reserved_tool_calls bigint NOT NULL DEFAULT 0,
    overrun_tokens bigint NOT NULL DEFAULT 0,
    overrun_micro_usd bigint NOT NULL DEFAULT 0,
    overrun_tool_calls bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    closed_at timestamptz,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, parent) REFERENCES budget_accounts (tenant_id, id),
    CONSTRAINT budget_accounts_tokens CHECK (
        limit_tokens >= 0 AND spent_tokens >= 0 AND reserved_tokens >= 0 AND overrun_tokens >= 0
        AND spent_tokens + reserved_tokens <= limit_tokens + overrun_tokens),
    CONSTRAINT budget_accounts_micro_usd CHECK (
        limit_micro_usd >= 0 AND spent_micro_usd >= 0 AND reserved_micro_usd >= 0 AND overrun_micro_usd >= 0
        AND spent_micro_usd + reserved_micro_usd <= limit_micro_usd + overrun_micro_usd),
    CONSTRAINT budget_accounts_tool_calls CHECK (
        limit_tool_calls >= 0 AND spent_tool_calls >= 0 AND reserved_tool_calls >= 0 AND overrun_tool_calls >= 0
        AND spent_tool_calls + reserved_tool_calls <= limit_tool_calls + overrun_tool_calls)
) WITH (fillfactor = 70);

CREATE TABLE ledger_entries (
    id bigserial PRIMARY KEY,
    tenant_id text NOT NULL,
    account text NOT NULL,
    kind text NOT NULL
        CHECK (kind IN ('open', 'reserve', 'settle', 'charge', 'carve', 'return', 'close', 'raise')),
    key text NOT NULL,
    by text NOT NULL DEFAULT '',
    limit_tokens bigint NOT NULL DEFAULT 0,
    limit_micro_usd bigint NOT NULL DEFAULT 0,
    limit_tool_calls bigint NOT NULL DEFAULT 0,
    spent_tokens bigint NOT NULL DEFAULT 0,
    spent_micro_usd bigint NOT NULL DEFAULT 0,
    spent_tool_calls bigint NOT NULL DEFAULT 0,
    reserved_tokens bigint NOT NULL DEFAULT 0,
    reserved_micro_usd bigint NOT NULL DEFAULT 0,
    reserved_tool_calls bigint NOT NULL DEFAULT 0,
    at timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (tenant_id, account) REFERENCES budget_accounts (tenant_id, id)
);
CREATE INDEX ledger_entries_by_account ON ledger_entries (tenant_id, account, id);
CREATE UNIQUE INDEX ledger_entries_one_raise ON ledger_entries (tenant_id, account, key) WHERE kind = 'raise';

CREATE TABLE content_blobs (
    tenant_id text NOT NULL,
    digest text NOT NULL,
    media_type text NOT NULL,
    data bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, digest)
);

CREATE TABLE artifacts (
    tenant_id text NOT NULL,
    run text NOT NULL,
    name text NOT NULL,
    media_type text NOT NULL,
    digest text NOT NULL,
    size bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, run, name, digest),
    FOREIGN KEY (tenant_id, run) REFERENCES runs (tenant_id, id)
);

CREATE TABLE outbox (
    id bigserial PRIMARY KEY,
    topic text NOT NULL,
    type text NOT NULL,
    tenant_id text NOT NULL,
    run text,
    at timestamptz NOT NULL DEFAULT now(),
    data json NOT NULL,
    published_at timestamptz
);
CREATE INDEX outbox_unpublished ON outbox (id) WHERE published_at IS NULL;
CREATE INDEX outbox_by_run ON outbox (tenant_id, run, id);

CREATE TABLE memories (
    tenant_id text NOT NULL,
    id text NOT NULL,
    space text NOT NULL,
    text text NOT NULL,
    labels jsonb NOT NULL DEFAULT '{}',
    run text NOT NULL,
    key text NOT NULL,
    embedding vector(384) NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id)
);
CREATE UNIQUE INDEX memories_one_key ON memories (tenant_id, key);
CREATE INDEX memories_by_space ON memories (tenant_id, space);
CREATE INDEX memories_nearest ON memories USING hnsw (embedding vector_cosine_ops);
