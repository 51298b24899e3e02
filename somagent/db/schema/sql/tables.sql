-- Tables. tenant_id is the first column of each key, so a collision of keys cannot reveal a row of another tenant.

CREATE EXTENSION IF NOT EXISTS vector;

-- A new function can be called by its owner only. `privileges.sql` grants the others what they call.
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

-- A cost in every dimension; the JSON form has the same three names.
CREATE TYPE amounts AS (tokens bigint, micro_usd bigint, tool_calls bigint);

CREATE TABLE tenants (
    id text PRIMARY KEY CHECK (id ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    created_at timestamptz NOT NULL DEFAULT now(),
    state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'suspended', 'revoked')),
    version integer NOT NULL DEFAULT 0,
    changed_at timestamptz NOT NULL DEFAULT now(),
    proof text
);

CREATE TABLE principals (
    tenant_id text NOT NULL REFERENCES tenants (id),
    subject text NOT NULL,
    capabilities text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'suspended', 'revoked')),
    version integer NOT NULL DEFAULT 0,
    changed_at timestamptz NOT NULL DEFAULT now(),
    proof text,
    PRIMARY KEY (tenant_id, subject)
);

CREATE TABLE api_keys (
    tenant_id text NOT NULL,
    hash text NOT NULL,
    subject text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz,
    id text NOT NULL,
    capabilities text[],
    expires_at timestamptz,
    confirmation jsonb,
    revoked_by text,
    reason text NOT NULL DEFAULT '',
    proof text,
    PRIMARY KEY (tenant_id, hash),
    FOREIGN KEY (tenant_id, subject) REFERENCES principals (tenant_id, subject)
);
CREATE UNIQUE INDEX api_keys_by_id ON api_keys (tenant_id, id);

-- A token family: the refresh tokens that follow from one sign-in, and the access tokens that they gave. Only the
-- refresh token of the present generation is taken; an older one ends the family.
CREATE TABLE token_families (
    tenant_id text NOT NULL,
    id text NOT NULL,
    subject text NOT NULL,
    capabilities text[],
    parent text,
    api_key text,
    client text NOT NULL,
    confirmation jsonb,
    generation integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    renewed_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    revoked_by text,
    reason text NOT NULL DEFAULT '',
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, subject) REFERENCES principals (tenant_id, subject),
    FOREIGN KEY (tenant_id, parent) REFERENCES token_families (tenant_id, id)
);
CREATE INDEX token_families_newest ON token_families (tenant_id, created_at DESC, id DESC);
CREATE INDEX token_families_by_parent ON token_families (tenant_id, parent) WHERE parent IS NOT NULL;

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

-- The fill factor leaves room for updates in place (HOT): every action of a run updates its row.
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
    decisions integer NOT NULL DEFAULT 0,
    denials integer NOT NULL DEFAULT 0,
    sequences jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    closed_at timestamptz,
    pruned_at timestamptz,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT runs_ended CHECK ((closed_at IS NOT NULL) = (status IN ('completed', 'failed', 'cancelled')))
) WITH (fillfactor = 70);
CREATE INDEX runs_kept ON runs (tenant_id, created_at) WHERE pruned_at IS NULL;
CREATE INDEX runs_newest ON runs (tenant_id, created_at DESC, id DESC);
CREATE INDEX runs_by_actor ON runs (tenant_id, actor, created_at DESC);
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

-- State `charged`: the outcome is not known; the whole reservation counts as spent until the effect reports.
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
-- Without the column state, so that the end of an effect updates its row in place.
CREATE INDEX effects_by_target ON effects (tenant_id, kind, target, started_at DESC);
-- For the recent effects, from which rate windows are filled.
CREATE INDEX effects_by_time ON effects USING brin (started_at);
CREATE INDEX effects_open ON effects (tenant_id, run, action) WHERE state = 'started';

-- Whether for each demand enough different people with its capability said yes.
CREATE FUNCTION approval_satisfied(demands jsonb, answers jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_array_length(demands) > 0 AND NOT EXISTS (
        SELECT FROM jsonb_array_elements(demands) AS demand
        WHERE (demand->>'quorum')::integer > (
            SELECT count(DISTINCT answer->>'by') FROM jsonb_array_elements(answers) AS answer
            WHERE answer->>'said' = 'yes'
              AND ((answer->>'escalated')::boolean OR answer->'capabilities' ? (demand->>'capability'))))
$$;

-- Separation of duties: the requester neither answers nor is represented, and each person counts once.
CREATE FUNCTION approval_duties(requested_by text, answers jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT NOT EXISTS (
        SELECT FROM jsonb_array_elements(answers) AS answer
        WHERE requested_by IN (answer->>'by', answer->>'on_behalf_of'))
    AND (SELECT count(name) = count(DISTINCT name)
         FROM jsonb_array_elements(answers) AS answer,
              unnest(ARRAY[answer->>'by', answer->>'on_behalf_of']) AS name
         WHERE answer->>'said' = 'yes')
$$;

-- answers: what each person said and by which capabilities. escalated: number of escalation groups that were notified.
CREATE TABLE approvals (
    tenant_id text NOT NULL,
    id text NOT NULL,
    run text NOT NULL,
    action text NOT NULL,
    kind text NOT NULL,
    target text NOT NULL,
    sentence text NOT NULL,
    demands jsonb NOT NULL,
    escalation jsonb NOT NULL DEFAULT '[]',
    escalated integer NOT NULL DEFAULT 0,
    requested_by text NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    answers jsonb NOT NULL DEFAULT '[]',
    state text NOT NULL DEFAULT 'pending'
        CHECK (state IN ('pending', 'approved', 'denied', 'expired', 'used', 'edited')),
    decided_by text,
    decided_at timestamptz,
    comment text NOT NULL DEFAULT '',
    used_by text,
    edited_to text,
    edited_from text,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, run) REFERENCES runs (tenant_id, id),
    FOREIGN KEY (tenant_id, edited_from) REFERENCES approvals (tenant_id, id),
    CONSTRAINT approvals_duties CHECK (decided_by <> requested_by AND approval_duties(requested_by, answers)),
    CONSTRAINT approvals_quorum CHECK (state NOT IN ('approved', 'used') OR approval_satisfied(demands, answers)),
    CONSTRAINT approvals_used_once CHECK ((state = 'used') = (used_by IS NOT NULL)),
    CONSTRAINT approvals_edited CHECK ((state = 'edited') = (edited_to IS NOT NULL) AND edited_to <> action)
);
CREATE INDEX approvals_newest ON approvals (tenant_id, requested_at DESC, id DESC);
CREATE INDEX approvals_by_action ON approvals (tenant_id, run, action);
CREATE UNIQUE INDEX approvals_one_pending ON approvals (tenant_id, run, action) WHERE state = 'pending';
-- An edited approval has one successor.
CREATE UNIQUE INDEX approvals_one_edit ON approvals (tenant_id, edited_from) WHERE edited_from IS NOT NULL;

-- A capability that is lent for a time, for approvals only. It counts while its owner holds it.
-- attestation, revocation: digests of the attestations by which it was given and revoked.
CREATE TABLE delegations (
    tenant_id text NOT NULL,
    id text NOT NULL,
    capability text NOT NULL,
    delegator text NOT NULL,
    delegate text NOT NULL,
    reason text NOT NULL DEFAULT '',
    starts_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz,
    revoked_by text,
    attestation text,
    revocation text,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, delegator) REFERENCES principals (tenant_id, subject),
    FOREIGN KEY (tenant_id, delegate) REFERENCES principals (tenant_id, subject),
    CONSTRAINT delegations_to_another CHECK (delegator <> delegate),
    CONSTRAINT delegations_in_time CHECK (starts_at < ends_at),
    CONSTRAINT delegations_revoked CHECK ((revoked_at IS NULL) = (revoked_by IS NULL))
);
CREATE INDEX delegations_newest ON delegations (tenant_id, created_at DESC, id DESC);
CREATE INDEX delegations_open ON delegations (tenant_id, delegate, ends_at) WHERE revoked_at IS NULL;

-- An approval in advance. It counts only under the constitution that its scope was proved to lie within.
-- attestation, revocation: digests of the attestations by which it was given or proved last, and revoked.
CREATE TABLE standing_grants (
    tenant_id text NOT NULL REFERENCES tenants (id),
    id text NOT NULL,
    scope text NOT NULL,
    capability text NOT NULL,
    reason text NOT NULL,
    constitution text NOT NULL,
    granted_by text NOT NULL,
    granted_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    uses integer NOT NULL CHECK (uses >= 1),
    uses_left integer NOT NULL,
    revoked_at timestamptz,
    revoked_by text,
    attestation text,
    revocation text,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT standing_grants_uses CHECK (uses_left BETWEEN 0 AND uses),
    CONSTRAINT standing_grants_revoked CHECK ((revoked_at IS NULL) = (revoked_by IS NULL))
);
CREATE INDEX standing_grants_newest ON standing_grants (tenant_id, granted_at DESC, id DESC);
CREATE INDEX standing_grants_open ON standing_grants (tenant_id, constitution, expires_at)
    WHERE revoked_at IS NULL AND uses_left > 0;

-- One use for each effect, also when it is retried.
CREATE TABLE standing_uses (
    tenant_id text NOT NULL,
    effect text NOT NULL,
    standing text NOT NULL,
    run text NOT NULL,
    action text NOT NULL,
    used_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, effect, action),
    FOREIGN KEY (tenant_id, standing) REFERENCES standing_grants (tenant_id, id),
    FOREIGN KEY (tenant_id, run) REFERENCES runs (tenant_id, id)
);
CREATE INDEX standing_uses_by_grant ON standing_uses (tenant_id, standing, used_at);

-- overrun: by how much the real usage exceeds the limit. Reserving and carving never add to it.
CREATE TABLE budget_accounts (
    tenant_id text NOT NULL REFERENCES tenants (id),
    id text NOT NULL,
    parent text,
    -- the project that it lies in, at any depth
    project text,
    -- with a period, what it may spend in each; the credit is spent once, after that
    period text CHECK (period = 'month'),
    period_start date,
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
    allowance_tokens bigint NOT NULL DEFAULT 0,
    allowance_micro_usd bigint NOT NULL DEFAULT 0,
    allowance_tool_calls bigint NOT NULL DEFAULT 0,
    credit_tokens bigint NOT NULL DEFAULT 0,
    credit_micro_usd bigint NOT NULL DEFAULT 0,
    credit_tool_calls bigint NOT NULL DEFAULT 0,
    -- wall clock of runs; NULL is no bound
    limit_seconds bigint CHECK (limit_seconds >= 0),
    spent_seconds bigint NOT NULL DEFAULT 0 CHECK (spent_seconds >= 0),
    reserved_seconds bigint NOT NULL DEFAULT 0 CHECK (reserved_seconds >= 0),
    -- at most so much in any sixty seconds; NULL is no bound
    rate_tokens bigint CHECK (rate_tokens > 0),
    rate_calls bigint CHECK (rate_calls > 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    closed_at timestamptz,
    PRIMARY KEY (tenant_id, id),
    CHECK ((period IS NULL) = (period_start IS NULL)),
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
-- For the open accounts under an account, which are few.
CREATE INDEX budget_accounts_open ON budget_accounts (tenant_id, parent) WHERE closed_at IS NULL;

CREATE TABLE ledger_entries (
    id bigserial PRIMARY KEY,
    tenant_id text NOT NULL,
    account text NOT NULL,
    kind text NOT NULL
        CHECK (kind IN ('open', 'reserve', 'settle', 'charge', 'carve', 'return', 'close', 'raise', 'allow', 'credit', 'period',
                        'clock', 'clocked')),
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
    spent_seconds bigint NOT NULL DEFAULT 0,
    reserved_seconds bigint NOT NULL DEFAULT 0,
    at timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (tenant_id, account) REFERENCES budget_accounts (tenant_id, id),
    -- What each kind may change, and in which direction. `capsules/audit/ledger_audit.py` has the same table.
    CONSTRAINT ledger_entries_limit CHECK (CASE
        WHEN kind IN ('open', 'raise', 'credit') THEN least(limit_tokens, limit_micro_usd, limit_tool_calls) >= 0
        WHEN kind IN ('allow', 'period') THEN true
        ELSE limit_tokens = 0 AND limit_micro_usd = 0 AND limit_tool_calls = 0 END),
    CONSTRAINT ledger_entries_spent CHECK (CASE
        WHEN kind IN ('charge', 'return') THEN least(spent_tokens, spent_micro_usd, spent_tool_calls) >= 0
        WHEN kind = 'period' THEN greatest(spent_tokens, spent_micro_usd, spent_tool_calls) <= 0
        WHEN kind = 'settle' THEN true -- below zero only for what was charged: `keep_ledger`
        ELSE spent_tokens = 0 AND spent_micro_usd = 0 AND spent_tool_calls = 0 END),
    CONSTRAINT ledger_entries_reserved CHECK (CASE
        WHEN kind = 'reserve' THEN least(reserved_tokens, reserved_micro_usd, reserved_tool_calls) >= 0
        WHEN kind IN ('settle', 'return') THEN greatest(reserved_tokens, reserved_micro_usd, reserved_tool_calls) <= 0
        WHEN kind = 'charge' THEN (reserved_tokens, reserved_micro_usd, reserved_tool_calls)
                                  = (-spent_tokens, -spent_micro_usd, -spent_tool_calls)
        WHEN kind = 'carve' THEN true
        ELSE reserved_tokens = 0 AND reserved_micro_usd = 0 AND reserved_tool_calls = 0 END),
    CONSTRAINT ledger_entries_seconds CHECK (CASE
        WHEN kind = 'clock' THEN spent_seconds = 0 AND reserved_seconds >= 0
        WHEN kind = 'clocked' THEN spent_seconds >= 0 AND reserved_seconds <= 0
        WHEN kind = 'period' THEN spent_seconds <= 0 AND reserved_seconds = 0
        ELSE spent_seconds = 0 AND reserved_seconds = 0 END)
);
CREATE INDEX ledger_entries_by_account ON ledger_entries (tenant_id, account, id);
CREATE UNIQUE INDEX ledger_entries_once ON ledger_entries (tenant_id, account, kind, key)
WHERE kind IN ('open', 'close', 'raise', 'credit', 'period', 'clock', 'clocked');
-- For what an account holds for each account under it.
CREATE INDEX ledger_entries_of_children ON ledger_entries (tenant_id, account, key) WHERE kind IN ('carve', 'return');

CREATE TABLE content_blobs (
    tenant_id text NOT NULL,
    digest text NOT NULL,
    media_type text NOT NULL,
    data bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    last_put_at timestamptz NOT NULL DEFAULT now(),
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

-- Deliveries of events on channels. They stay when events are pruned from the outbox.
CREATE TABLE deliveries (
    tenant_id text NOT NULL,
    event bigint NOT NULL,
    channel text NOT NULL,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'sent', 'dead')),
    attempts integer NOT NULL DEFAULT 0,
    due_at timestamptz NOT NULL DEFAULT now(),
    said text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    PRIMARY KEY (tenant_id, event, channel)
);
CREATE INDEX deliveries_due ON deliveries (channel, due_at) WHERE state = 'waiting';
CREATE INDEX deliveries_newest ON deliveries (tenant_id, event DESC, channel DESC);
CREATE INDEX outbox_told ON outbox (at) WHERE topic IN ('approval.events', 'budget.events', 'constitution.updated');

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
