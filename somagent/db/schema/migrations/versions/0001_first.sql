-- The tables. Everything of a tenant carries tenant_id first in its key, so one tenant cannot even learn by a collision
-- that another has a row.

CREATE EXTENSION IF NOT EXISTS vector;

-- A cost in every dimension; the JSON form has the same three names.
CREATE TYPE amounts AS (tokens bigint, micro_usd bigint, tool_calls bigint);

CREATE TABLE tenants (
    id text PRIMARY KEY CHECK (id ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    created_at timestamptz NOT NULL DEFAULT now()
);

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
    decisions integer NOT NULL DEFAULT 0,
    denials integer NOT NULL DEFAULT 0,
    sequences jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    closed_at timestamptz,
    pruned_at timestamptz,
    PRIMARY KEY (tenant_id, id)
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
-- Without the state, so that ending an effect changes its row in place.
CREATE INDEX effects_by_target ON effects (tenant_id, kind, target, started_at DESC);
-- What began lately, from which rate windows are filled.
CREATE INDEX effects_by_time ON effects USING brin (started_at);
CREATE INDEX effects_open ON effects (tenant_id, run, action) WHERE state = 'started';

-- Whether for every demand so many different people with its capability said yes.
CREATE FUNCTION approval_satisfied(demands jsonb, answers jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_array_length(demands) > 0 AND NOT EXISTS (
        SELECT FROM jsonb_array_elements(demands) AS demand
        WHERE (demand->>'quorum')::integer > (
            SELECT count(DISTINCT answer->>'by') FROM jsonb_array_elements(answers) AS answer
            WHERE answer->>'said' = 'yes'
              AND ((answer->>'escalated')::boolean OR answer->'capabilities' ? (demand->>'capability'))))
$$;

-- Whether duties are apart: the requester neither answers nor is answered for, and nobody's right counts twice.
CREATE FUNCTION approval_duties(requested_by text, answers jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT NOT EXISTS (
        SELECT FROM jsonb_array_elements(answers) AS answer
        WHERE requested_by IN (answer->>'by', answer->>'on_behalf_of'))
    AND (SELECT count(name) = count(DISTINCT name)
         FROM jsonb_array_elements(answers) AS answer,
              unnest(ARRAY[answer->>'by', answer->>'on_behalf_of']) AS name
         WHERE answer->>'said' = 'yes')
$$;

-- `answers` is what each person said, by what right; `escalated` how many of the later groups were told.
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
-- What was edited once becomes one action, once.
CREATE UNIQUE INDEX approvals_one_edit ON approvals (tenant_id, edited_from) WHERE edited_from IS NOT NULL;

-- A capability lent for a time, for approvals only. It counts while its owner holds it.
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
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, delegator) REFERENCES principals (tenant_id, subject),
    FOREIGN KEY (tenant_id, delegate) REFERENCES principals (tenant_id, subject),
    CONSTRAINT delegations_to_another CHECK (delegator <> delegate),
    CONSTRAINT delegations_in_time CHECK (starts_at < ends_at),
    CONSTRAINT delegations_revoked CHECK ((revoked_at IS NULL) = (revoked_by IS NULL))
);
CREATE INDEX delegations_newest ON delegations (tenant_id, created_at DESC, id DESC);
CREATE INDEX delegations_open ON delegations (tenant_id, delegate, ends_at) WHERE revoked_at IS NULL;

-- A yes in advance. It counts only under the constitution that its scope was proved to lie within.
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
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT standing_grants_uses CHECK (uses_left BETWEEN 0 AND uses),
    CONSTRAINT standing_grants_revoked CHECK ((revoked_at IS NULL) = (revoked_by IS NULL))
);
CREATE INDEX standing_grants_newest ON standing_grants (tenant_id, granted_at DESC, id DESC);
CREATE INDEX standing_grants_open ON standing_grants (tenant_id, constitution, expires_at)
    WHERE revoked_at IS NULL AND uses_left > 0;

-- One use for each effect, whatever its attempts.
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

-- `overrun` is by how much spending, recorded truthfully, has passed the limit. Reserving and carving never add to it.
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
-- What is open under an account: few, however many have been closed.
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
    FOREIGN KEY (tenant_id, account) REFERENCES budget_accounts (tenant_id, id)
);
CREATE INDEX ledger_entries_by_account ON ledger_entries (tenant_id, account, id);
CREATE UNIQUE INDEX ledger_entries_once ON ledger_entries (tenant_id, account, kind, key)
WHERE kind IN ('raise', 'credit', 'clock', 'clocked');

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

-- Which events people were told of, by which channel. Events that are pruned from the outbox leave these behind.
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
-- The audit: changes that people and programs make, and the seals over them and over receipts.

-- One change of something that decides what runs may do. `body` is canonical JSON, and `hash` its digest.
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

-- What is recorded and not sealed yet. A queue, so that the sealer finds it without looking at what it sealed, and a
-- transaction that commits late is sealed late and never missed.
CREATE TABLE seal_pending (
    id bigserial PRIMARY KEY,
    tenant_id text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('receipt', 'audit')),
    subject text NOT NULL,
    number bigint NOT NULL,
    hash text NOT NULL
);
CREATE INDEX seal_pending_by_tenant ON seal_pending (tenant_id, id);

-- A tenant's records in one sequence without gaps. The sealer numbers them, so that no action waits for another's.
CREATE TABLE seal_leaves (
    tenant_id text NOT NULL,
    seq bigint NOT NULL CHECK (seq > 0),
    kind text NOT NULL CHECK (kind IN ('receipt', 'audit')),
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
-- Forecasts: what each run was expected to take when it was admitted. What it took is in its account.

CREATE TABLE forecasts (
    tenant_id text NOT NULL,
    run text NOT NULL,
    capsule text NOT NULL,
    model text NOT NULL,
    shape json NOT NULL,
    forecast json NOT NULL,
    made_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, run),
    FOREIGN KEY (tenant_id, run) REFERENCES runs (tenant_id, id)
);
CREATE INDEX forecasts_by_capsule ON forecasts (tenant_id, capsule, model, made_at DESC);
-- How long a tenant keeps content, and what must be kept whatever that says.

CREATE TABLE retention (
    tenant_id text PRIMARY KEY REFERENCES tenants (id),
    content_days integer CHECK (content_days BETWEEN 1 AND 36500),
    memory_days integer CHECK (memory_days BETWEEN 1 AND 36500),
    set_by text NOT NULL,
    set_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE legal_holds (
    tenant_id text NOT NULL REFERENCES tenants (id),
    id text NOT NULL,
    -- `tenant`, `capsule:<name>`, or `run:<id>`, which covers the runs below it
    scope text NOT NULL CHECK (scope = 'tenant' OR scope LIKE 'capsule:_%' OR scope LIKE 'run:_%'),
    reason text NOT NULL,
    placed_by text NOT NULL,
    placed_at timestamptz NOT NULL DEFAULT now(),
    lifted_by text,
    lifted_at timestamptz,
    PRIMARY KEY (tenant_id, id),
    CHECK ((lifted_at IS NULL) = (lifted_by IS NULL))
);
-- Who may do what. Row-level security is forced, so that even the owner sees one tenant at a time, and without the
-- setting nobody sees a row: current_setting(…, true) is then NULL or empty, which equals no tenant.

DO $$
DECLARE
    name text;
BEGIN
    FOR name IN
        SELECT relation.relname FROM pg_class AS relation
        JOIN pg_attribute AS attribute ON attribute.attrelid = relation.oid AND attribute.attname = 'tenant_id'
        WHERE relation.relnamespace = current_schema()::regnamespace AND relation.relkind = 'r'
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY one_tenant ON %I USING (tenant_id = current_setting(''somagent.tenant'', true)) '
            'WITH CHECK (tenant_id = current_setting(''somagent.tenant'', true))', name);
    END LOOP;
END $$;

-- The relay carries everybody's events and changes nothing but the mark that they have left.
CREATE POLICY relay_reads ON outbox FOR SELECT TO somagent_relay USING (true);
CREATE POLICY relay_marks ON outbox FOR UPDATE TO somagent_relay USING (true) WITH CHECK (true);
CREATE POLICY relay_reads ON runs FOR SELECT TO somagent_relay USING (true);
-- It also remembers which events people were told of.
CREATE POLICY relay_delivers ON deliveries TO somagent_relay USING (true) WITH CHECK (true);
GRANT USAGE ON SCHEMA public TO somagent_app, somagent_relay;
GRANT SELECT ON tenants, runs, outbox TO somagent_relay;
GRANT UPDATE (published_at) ON outbox TO somagent_relay;
GRANT SELECT, INSERT, UPDATE ON deliveries TO somagent_relay;
GRANT SELECT ON deliveries TO somagent_app;

GRANT SELECT ON tenants, constitutions TO somagent_app;
-- Only added to:
GRANT SELECT, INSERT ON capsules, receipts, ledger_entries, content_blobs, artifacts, outbox, memories TO somagent_app;
GRANT SELECT, INSERT ON standing_uses TO somagent_app;
-- Also changed, never deleted:
GRANT SELECT, INSERT, UPDATE ON principals, api_keys, runs, effects, approvals, budget_accounts TO somagent_app;
-- Of a grant only what is left of it, whether it stands, and what it was proved under:
GRANT SELECT, INSERT ON standing_grants TO somagent_app;
GRANT UPDATE (uses_left, revoked_at, revoked_by, constitution) ON standing_grants TO somagent_app;
-- Of a delegation only that it was taken back:
GRANT SELECT, INSERT ON delegations TO somagent_app;
GRANT UPDATE (revoked_at, revoked_by) ON delegations TO somagent_app;
GRANT USAGE ON SEQUENCE outbox_id_seq, ledger_entries_id_seq TO somagent_app;

-- What is written once stays, also for the owner.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = 'SO409',
        MESSAGE = format('A row of %s is never changed or deleted; add a new one.', TG_TABLE_NAME);
END $$;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['capsules', 'receipts', 'ledger_entries'] LOOP
        EXECUTE format('CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION refuse_change()', name);
        EXECUTE format('CREATE TRIGGER never_emptied BEFORE TRUNCATE ON %I EXECUTE FUNCTION refuse_change()', name);
    END LOOP;
END $$;

-- Who lent what to whom stays; that it was taken back is written once.
CREATE FUNCTION keep_delegation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF old.revoked_at IS NOT NULL
       OR to_jsonb(new) - '{revoked_at,revoked_by}'::text[] <> to_jsonb(old) - '{revoked_at,revoked_by}'::text[] THEN
        RAISE EXCEPTION USING ERRCODE = 'SO409', MESSAGE = 'A delegation is never changed, only revoked, once.';
    END IF;
    RETURN new;
END $$;
CREATE TRIGGER kept BEFORE UPDATE ON delegations FOR EACH ROW EXECUTE FUNCTION keep_delegation();
CREATE TRIGGER immutable BEFORE DELETE ON delegations FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON delegations EXECUTE FUNCTION refuse_change();
-- Sealing: every receipt and audit entry is queued as it is written; only the sealer's role empties the queue.

GRANT USAGE ON SCHEMA public TO somagent_sealer;
GRANT SELECT, INSERT ON audit_entries TO somagent_app;
GRANT USAGE ON SEQUENCE audit_entries_id_seq TO somagent_app;
GRANT SELECT ON seal_pending, seal_leaves, seal_blocks TO somagent_app;
GRANT SELECT, DELETE ON seal_pending TO somagent_sealer;
GRANT SELECT, INSERT ON seal_leaves, seal_blocks TO somagent_sealer;

-- The sealer works for every tenant, and sees nothing of them but hashes.
CREATE POLICY sealer_takes ON seal_pending TO somagent_sealer USING (true) WITH CHECK (true);
CREATE POLICY sealer_numbers ON seal_leaves TO somagent_sealer USING (true) WITH CHECK (true);
CREATE POLICY sealer_seals ON seal_blocks TO somagent_sealer USING (true) WITH CHECK (true);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['audit_entries', 'seal_leaves', 'seal_blocks'] LOOP
        EXECUTE format('CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION refuse_change()', name);
        EXECUTE format('CREATE TRIGGER never_emptied BEFORE TRUNCATE ON %I EXECUTE FUNCTION refuse_change()', name);
    END LOOP;
END $$;

-- Queue a record for the sealer. With the owner's right: who writes records cannot take one out of the queue, or put in
-- what was never recorded.
CREATE FUNCTION seal_receipt() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO seal_pending (tenant_id, kind, subject, number, hash)
    VALUES (new.tenant_id, 'receipt', new.run, new.seq, new.hash);
    RETURN NULL;
END $$;
CREATE TRIGGER queued AFTER INSERT ON receipts FOR EACH ROW EXECUTE FUNCTION seal_receipt();

CREATE FUNCTION seal_entry() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO seal_pending (tenant_id, kind, subject, number, hash)
    VALUES (new.tenant_id, 'audit', '', new.id, new.hash);
    RETURN NULL;
END $$;
CREATE TRIGGER queued AFTER INSERT ON audit_entries FOR EACH ROW EXECUTE FUNCTION seal_entry();
REVOKE ALL ON FUNCTION seal_receipt(), seal_entry() FROM PUBLIC;

-- The tenants that have something to seal. The queue's index is skipped through, however long it is.
CREATE FUNCTION seal_waiting() RETURNS SETOF text LANGUAGE plpgsql STABLE SECURITY INVOKER AS $$
DECLARE
    found text;
BEGIN
    SELECT min(tenant_id) INTO found FROM seal_pending;
    WHILE found IS NOT NULL LOOP
        RETURN NEXT found;
        SELECT min(tenant_id) INTO found FROM seal_pending WHERE tenant_id > found;
    END LOOP;
END $$;

-- Give the oldest waiting records of a tenant the next numbers of its sequence. The caller has locked the tenant's
-- sealing, and adds the block over them in the same transaction.
CREATE FUNCTION seal_take(tenant text, next_height bigint, next_seq bigint, most integer) RETURNS SETOF seal_leaves
LANGUAGE sql SECURITY INVOKER AS $$
    WITH oldest AS (
        SELECT id FROM seal_pending WHERE tenant_id = tenant ORDER BY id LIMIT most
    ), taken AS (
        DELETE FROM seal_pending USING oldest WHERE seal_pending.id = oldest.id RETURNING seal_pending.*
    ), numbered AS (
        INSERT INTO seal_leaves (tenant_id, seq, kind, subject, number, hash, height)
        SELECT tenant, next_seq - 1 + row_number() OVER (ORDER BY id), kind, subject, number, hash, next_height
        FROM taken
        RETURNING seal_leaves.*
    )
    SELECT * FROM numbered ORDER BY seq
$$;
-- A forecast is made once, before the run acts, and never changed: else it could be made to have been right.
GRANT SELECT, INSERT ON forecasts TO somagent_app;
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON forecasts FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON forecasts EXECUTE FUNCTION refuse_change();
-- Receipts and events: the two records of what the gate does.

-- The canonical JSON (RFC 8785) of an object whose members come as canonical text: members in the order of their ASCII
-- names, nothing between them. Python sends the large members this way, ready, and the database adds its few answers.
CREATE FUNCTION canonical_object(parts jsonb) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT '{' || coalesce(string_agg(to_json(key)::text || ':' || value, ',' ORDER BY key COLLATE "C"), '') || '}'
    FROM jsonb_each_text(parts)
$$;

-- The canonical JSON text of a string: PostgreSQL escapes exactly what RFC 8785 says, in the same way.
CREATE FUNCTION canonical_text(value text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT coalesce(to_json(value)::text, 'null')
$$;

CREATE FUNCTION canonical_amounts(cost amounts) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT format('{"micro_usd":%s,"tokens":%s,"tool_calls":%s}',
                  (cost).micro_usd, (cost).tokens, (cost).tool_calls)
$$;

CREATE FUNCTION canonical_time(at timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT to_json(to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))::text
$$;

CREATE FUNCTION digest_text(value text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT 'sha256:' || encode(sha256(convert_to(value, 'UTF8')), 'hex')
$$;

-- Append a receipt to the chain of a run whose row the caller has locked. Returns {seq, hash}.
CREATE FUNCTION receipt_append(
    run_id text, receipt_kind text, receipt_activity text, receipt_attempt integer, parts jsonb, denied integer DEFAULT 0
) RETURNS json LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    moment timestamptz := clock_timestamp();
    body_text text := canonical_object(parts || jsonb_build_object('at', canonical_time(moment)));
    body_hash text := digest_text(body_text);
    before text;
    number bigint;
    head text;
BEGIN
    UPDATE runs SET
        receipt_seq = receipt_seq + 1,
        receipt_head = digest_text(receipt_head || E'\n' || (receipt_seq + 1) || E'\n' || body_hash),
        decisions = decisions + (receipt_kind = 'decision')::integer,
        denials = denials + denied,
        updated_at = moment
    WHERE id = run_id
    RETURNING old.receipt_head, new.receipt_seq, new.receipt_head INTO STRICT before, number, head;
    INSERT INTO receipts (tenant_id, run, seq, at, kind, activity, attempt, body, body_digest, previous, hash)
    VALUES (current_setting('somagent.tenant'), run_id, number, moment, receipt_kind, receipt_activity,
            receipt_attempt, body_text::json, body_hash, before, head);
    RETURN json_build_object('seq', number, 'hash', head);
END $$;

-- Write an event. The caller has locked the run's row, so a run's events become visible in the order of their ids.
CREATE FUNCTION event_add(event_topic text, event_type text, event_run text, event_data json) RETURNS void
LANGUAGE plpgsql SECURITY INVOKER AS $$
BEGIN
    INSERT INTO outbox (topic, type, tenant_id, run, at, data)
    VALUES (event_topic, event_type, current_setting('somagent.tenant'), event_run, clock_timestamp(), event_data);
END $$;
-- All that the application may do to constitutions is what these four functions do, which belong to the owner. They add
-- rows; only a revocation changes one.

-- The one answer to which constitution counts for a tenant; null for none.
CREATE FUNCTION constitution_of(tenant text, wanted_stage text) RETURNS text LANGUAGE sql STABLE SECURITY INVOKER AS $$
    SELECT coalesce(
        (SELECT digest FROM constitution_activations
         WHERE scope = tenant AND stage = wanted_stage ORDER BY id DESC LIMIT 1),
        (SELECT digest FROM constitution_activations
         WHERE scope = '*' AND stage = wanted_stage ORDER BY id DESC LIMIT 1))
$$;

-- Keep a document and its signatures. Those who sign later bring the same document with their signature.
CREATE FUNCTION constitution_install(entry json, sealed_document bytea) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO constitutions (digest, sha3_512, name, version, sealed_by, sealed, proposed_by)
    VALUES (entry->>'digest', entry->>'sha3_512', entry->>'name', entry->>'version', entry->>'sealed_by',
            sealed_document, entry->>'proposed_by')
    ON CONFLICT DO NOTHING;
    INSERT INTO constitution_signatures (digest, key_id, signature)
    SELECT entry->>'digest', one->>'key_id', one->>'signature' FROM json_array_elements(entry->'signatures') AS one
    ON CONFLICT DO NOTHING;
END $$;

-- Make a proposal's constitution the active one. Everything that must still be true is looked at under one lock.
CREATE FUNCTION constitution_activate(wanted text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    asked constitution_proposals;
    newer constitution_activations;
    number bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(7405113804);
    SELECT * INTO asked FROM constitution_proposals WHERE id = wanted FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'SO404', MESSAGE = format('There is no proposal %L.', wanted);
    END IF;
    IF asked.state = 'activated' THEN
        RETURN (SELECT min(id) FROM constitution_activations AS done WHERE done.proposal = wanted);
    END IF;
    IF asked.state <> 'approved' OR cardinality(asked.approved_by) < asked.quorum THEN
        RAISE EXCEPTION USING ERRCODE = 'SO409',
            MESSAGE = format('Proposal %L is %s; only an approved one is activated.', wanted, asked.state);
    END IF;
    IF EXISTS (SELECT FROM constitutions WHERE digest = asked.digest AND state = 'revoked') THEN
        RAISE EXCEPTION USING ERRCODE = 'SO409',
            MESSAGE = format('Constitution %s was revoked meanwhile.', asked.digest);
    END IF;
    SELECT * INTO newer FROM constitution_activations
    WHERE id > asked.since AND stage = 'active' AND asked.stage = 'active'
      AND (asked.scope = '*' OR scope IN ('*', asked.scope)) ORDER BY id DESC LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'SO409', MESSAGE = format(
            'Meanwhile %s became active for %L; what was proved and compared was against another. Propose it again.',
            coalesce(newer.digest, 'everybody''s constitution'), newer.scope);
    END IF;
    INSERT INTO constitution_activations (scope, stage, digest, reason, by, proposal)
    VALUES (asked.scope, asked.stage, asked.digest, asked.reason, asked.proposed_by, wanted)
    RETURNING id INTO number;
    IF asked.clears IS NOT NULL THEN
        INSERT INTO constitution_activations (scope, stage, digest, reason, by, proposal)
        VALUES (asked.clears, asked.stage, NULL, asked.reason, asked.proposed_by, wanted);
    END IF;
    UPDATE constitution_proposals SET state = 'activated', updated_at = clock_timestamp() WHERE id = wanted;
    PERFORM event_add('constitution.updated', 'constitution.updated', NULL, json_build_object(
        'constitution', asked.digest, 'scope', asked.scope, 'stage', asked.stage, 'reason', asked.reason,
        'against', asked.against, 'by', asked.proposed_by, 'approved_by', asked.approved_by,
        'proposal', wanted));
    RETURN number;
END $$;

-- Take the shadow of a scope away. Nothing is decided by it, so nobody needs to agree.
CREATE FUNCTION constitution_unshadow(wanted text, who text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO constitution_activations (scope, stage, digest, reason, by)
    VALUES (wanted, 'shadow', NULL, 'off', who);
    PERFORM event_add('constitution.updated', 'constitution.updated', NULL, json_build_object(
        'constitution', NULL, 'scope', wanted, 'stage', 'shadow', 'reason', 'off', 'by', who));
END $$;

-- For ever: what is pinned to it stops at its next action, and nothing brings it back.
CREATE FUNCTION constitution_revoke(wanted text, who text, reason text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM set_config('somagent.actor', who, true);
    UPDATE constitutions SET state = 'revoked' WHERE digest = wanted AND state <> 'revoked';
    IF FOUND THEN
        PERFORM event_add('constitution.updated', 'constitution.revoked', NULL, json_build_object(
            'constitution', wanted, 'by', who, 'reason', reason));
    ELSIF NOT EXISTS (SELECT FROM constitutions WHERE digest = wanted) THEN
        RAISE EXCEPTION USING ERRCODE = 'SO404', MESSAGE = format('There is no constitution %s.', wanted);
    END IF;
END $$;

REVOKE EXECUTE ON FUNCTION constitution_install, constitution_activate, constitution_unshadow, constitution_revoke
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION constitution_install, constitution_activate, constitution_unshadow, constitution_revoke
    TO somagent_app;
GRANT SELECT ON constitution_signatures, constitution_activations TO somagent_app;
GRANT SELECT, INSERT, UPDATE ON constitution_proposals TO somagent_app;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['constitution_signatures', 'constitution_activations'] LOOP
        EXECUTE format('CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION refuse_change()', name);
        EXECUTE format('CREATE TRIGGER never_emptied BEFORE TRUNCATE ON %I EXECUTE FUNCTION refuse_change()', name);
    END LOOP;
END $$;
-- The budget tree. An account's limit is taken from its parent as a reservation, and comes back when it is closed: what
-- it spent as spent, the rest as free. Every change passes account_post, so entries always add up to balances.
-- Locks are taken from the root down.

CREATE FUNCTION amounts_of(value jsonb) RETURNS amounts LANGUAGE sql IMMUTABLE AS $$
    SELECT ((value->>'tokens')::bigint, (value->>'micro_usd')::bigint, (value->>'tool_calls')::bigint)::amounts
$$;

CREATE FUNCTION amounts_json(cost amounts) RETURNS json LANGUAGE sql STABLE AS $$
    SELECT json_build_object('tokens', (cost).tokens, 'micro_usd', (cost).micro_usd, 'tool_calls', (cost).tool_calls)
$$;

CREATE FUNCTION amounts_minus(one amounts, other amounts) RETURNS amounts LANGUAGE sql IMMUTABLE AS $$
    SELECT ((one).tokens - (other).tokens, (one).micro_usd - (other).micro_usd,
            (one).tool_calls - (other).tool_calls)::amounts
$$;

CREATE FUNCTION amounts_none() RETURNS amounts LANGUAGE sql IMMUTABLE AS $$ SELECT (0, 0, 0)::amounts $$;

CREATE FUNCTION account_left(account budget_accounts) RETURNS amounts LANGUAGE sql IMMUTABLE AS $$
    SELECT (greatest(0, account.limit_tokens - account.spent_tokens - account.reserved_tokens),
            greatest(0, account.limit_micro_usd - account.spent_micro_usd - account.reserved_micro_usd),
            greatest(0, account.limit_tool_calls - account.spent_tool_calls - account.reserved_tool_calls))::amounts
$$;

-- The first dimension in which the account cannot cover a cost, or NULL.
CREATE FUNCTION account_short(account budget_accounts, cost amounts) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN account.spent_tokens + account.reserved_tokens + (cost).tokens > account.limit_tokens THEN 'tokens'
        WHEN account.spent_micro_usd + account.reserved_micro_usd + (cost).micro_usd > account.limit_micro_usd
            THEN 'micro_usd'
        WHEN account.spent_tool_calls + account.reserved_tool_calls + (cost).tool_calls > account.limit_tool_calls
            THEN 'tool_calls'
    END
$$;

-- How much of a limit is spent, as the greatest threshold that is reached: 0, 50, 80 or 100 per cent.
CREATE FUNCTION spent_level(spent bigint, bound bigint) RETURNS integer LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN bound <= 0 THEN 0 WHEN spent >= bound THEN 100
                WHEN spent * 100 >= bound * 80 THEN 80 WHEN spent * 100 >= bound * 50 THEN 50 ELSE 0 END
$$;

-- Say which thresholds a run's account has crossed, once each: what is spent only grows.
CREATE FUNCTION account_pressure(run_id text, before budget_accounts, after budget_accounts) RETURNS void
LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    crossed record;
BEGIN
    FOR crossed IN
        SELECT * FROM (VALUES
            ('tokens', before.spent_tokens, after.spent_tokens, after.limit_tokens),
            ('micro_usd', before.spent_micro_usd, after.spent_micro_usd, after.limit_micro_usd),
            ('tool_calls', before.spent_tool_calls, after.spent_tool_calls, after.limit_tool_calls)
        ) AS spending (dimension, earlier, spent, bound)
        WHERE spent_level(spent, bound) > spent_level(earlier, bound)
    LOOP
        PERFORM event_add('budget.events', 'budget.pressure', run_id, json_build_object(
            'account', after.id, 'dimension', crossed.dimension,
            'percent', spent_level(crossed.spent, crossed.bound), 'spent', crossed.spent, 'limit', crossed.bound));
    END LOOP;
END $$;

-- Change an account whose row the caller has locked, and write the entry that says so.
CREATE FUNCTION account_post(
    account_id text, entry_kind text, entry_key text, entry_by text,
    add_limit amounts, add_spent amounts, add_reserved amounts
) RETURNS budget_accounts LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    account budget_accounts;
    -- Only truth about the past may pass a limit: real usage, and what a child really spent.
    truth boolean := entry_kind IN ('settle', 'charge', 'return', 'period');
BEGIN
    UPDATE budget_accounts SET
        limit_tokens = limit_tokens + (add_limit).tokens,
        limit_micro_usd = limit_micro_usd + (add_limit).micro_usd,
        limit_tool_calls = limit_tool_calls + (add_limit).tool_calls,
        spent_tokens = spent_tokens + (add_spent).tokens,
        spent_micro_usd = spent_micro_usd + (add_spent).micro_usd,
        spent_tool_calls = spent_tool_calls + (add_spent).tool_calls,
        reserved_tokens = reserved_tokens + (add_reserved).tokens,
        reserved_micro_usd = reserved_micro_usd + (add_reserved).micro_usd,
        reserved_tool_calls = reserved_tool_calls + (add_reserved).tool_calls,
        overrun_tokens = account_overrun(overrun_tokens, spent_tokens + (add_spent).tokens + reserved_tokens + (add_reserved).tokens
            - limit_tokens - (add_limit).tokens, truth),
        overrun_micro_usd = account_overrun(overrun_micro_usd, spent_micro_usd + (add_spent).micro_usd + reserved_micro_usd + (add_reserved).micro_usd
            - limit_micro_usd - (add_limit).micro_usd, truth),
        overrun_tool_calls = account_overrun(overrun_tool_calls, spent_tool_calls + (add_spent).tool_calls + reserved_tool_calls + (add_reserved).tool_calls
            - limit_tool_calls - (add_limit).tool_calls, truth)
    WHERE id = account_id
    RETURNING * INTO STRICT account;
    INSERT INTO ledger_entries (tenant_id, account, kind, key, by, limit_tokens, limit_micro_usd, limit_tool_calls,
        spent_tokens, spent_micro_usd, spent_tool_calls, reserved_tokens, reserved_micro_usd, reserved_tool_calls)
    VALUES (current_setting('somagent.tenant'), account_id, entry_kind, entry_key, entry_by,
        (add_limit).tokens, (add_limit).micro_usd, (add_limit).tool_calls,
        (add_spent).tokens, (add_spent).micro_usd, (add_spent).tool_calls,
        (add_reserved).tokens, (add_reserved).micro_usd, (add_reserved).tool_calls);
    RETURN account;
END $$;

-- The excess over the limit; it grows only by truth, so a reservation that does not fit breaks the table's constraint.
CREATE FUNCTION account_overrun(known bigint, excess bigint, truth boolean) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN truth THEN greatest(0, excess) ELSE least(known, greatest(0, excess)) END
$$;

-- Lock an open account. Raises SO404 or SO409.
CREATE FUNCTION account_lock(account_id text) RETURNS budget_accounts LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    account budget_accounts;
BEGIN
    SELECT * INTO account FROM budget_accounts WHERE id = account_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'SO404', MESSAGE = format('There is no account %L.', account_id),
            DETAIL = json_build_object('account', account_id);
    END IF;
    IF account.closed_at IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'SO409', MESSAGE = format('Account %L is closed.', account_id),
            DETAIL = json_build_object('account', account_id);
    END IF;
    RETURN account;
END $$;

-- Raise SO402 unless the account can cover a cost.
CREATE FUNCTION account_demand(account budget_accounts, cost amounts) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    dimension text := account_short(account, cost);
BEGIN
    IF dimension IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'SO402',
            MESSAGE = format('Account %L cannot cover %s %s: it has %s left. Raise its limit or ask for less.',
                account.id, amounts_json(cost)->>dimension, dimension, amounts_json(account_left(account))->>dimension),
            DETAIL = json_build_object('account', account.id, 'dimension', dimension,
                                       'left', amounts_json(account_left(account)));
    END IF;
END $$;

-- Open an account without a parent. One that exists stays as it is.
CREATE FUNCTION account_open(account_id text, amounts_wanted jsonb) RETURNS void
LANGUAGE plpgsql SECURITY INVOKER AS $$
BEGIN
    INSERT INTO budget_accounts (tenant_id, id) VALUES (current_setting('somagent.tenant'), account_id)
    ON CONFLICT DO NOTHING;
    IF FOUND THEN
        PERFORM account_post(account_id, 'open', account_id, '', amounts_of(amounts_wanted), amounts_none(), amounts_none());
    END IF;
END $$;

-- Open an account with a part of its parent's. One that exists under the same parent, and is open, stays as it is.
CREATE FUNCTION account_carve(parent_id text, account_id text, amounts_wanted jsonb) RETURNS void
LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    wanted amounts := amounts_of(amounts_wanted);
    parent_account budget_accounts;
    known budget_accounts;
BEGIN
    PERFORM period_open(parent_id);
    parent_account := account_lock(parent_id);
    SELECT * INTO known FROM budget_accounts WHERE id = account_id;
    IF FOUND THEN
        IF known.parent IS DISTINCT FROM parent_id OR known.closed_at IS NOT NULL THEN
            RAISE EXCEPTION USING ERRCODE = 'SO409', DETAIL = json_build_object('account', account_id),
                MESSAGE = format('Account %L exists already, closed or under the parent %L.', account_id, known.parent);
        END IF;
        RETURN;
    END IF;
    PERFORM account_demand(parent_account, wanted);
    PERFORM account_post(parent_id, 'carve', account_id, '', amounts_none(), amounts_none(), wanted);
    INSERT INTO budget_accounts (tenant_id, id, parent, project)
    VALUES (current_setting('somagent.tenant'), account_id, parent_id,
            CASE WHEN parent_id LIKE 'project:%' THEN substr(parent_id, 9) ELSE parent_account.project END);
    PERFORM account_post(account_id, 'open', account_id, '', wanted, amounts_none(), amounts_none());
END $$;

-- Raise a limit by a part of the parent's; an account without a parent is raised from outside. Once for each key.
CREATE FUNCTION account_raise(account_id text, amounts_wanted jsonb, raise_key text, raised_by text) RETURNS void
LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    wanted amounts := amounts_of(amounts_wanted);
    parent_id text;
    parent_account budget_accounts;
    account budget_accounts;
    run_id text := CASE WHEN account_id LIKE 'run:%' THEN substr(account_id, 5) END;
BEGIN
    PERFORM FROM runs WHERE id = run_id FOR NO KEY UPDATE;
    PERFORM period_open(account_id);
    SELECT parent INTO parent_id FROM budget_accounts WHERE id = account_id;
    IF parent_id IS NOT NULL THEN
        parent_account := account_lock(parent_id);
    END IF;
    account := account_lock(account_id);
    IF EXISTS (SELECT FROM ledger_entries WHERE ledger_entries.account = account_id AND kind = 'raise' AND key = raise_key)
    THEN
        RETURN;
    END IF;
    IF parent_id IS NOT NULL THEN
        PERFORM account_demand(parent_account, wanted);
        PERFORM account_post(parent_id, 'carve', account_id, raised_by, amounts_none(), amounts_none(), wanted);
    END IF;
    PERFORM account_post(account_id, 'raise', raise_key, raised_by, wanted, amounts_none(), amounts_none());
    PERFORM event_add('budget.events', 'budget.raised', run_id,
        json_build_object('account', account_id, 'amounts', amounts_json(wanted), 'by', raised_by, 'key', raise_key));
END $$;

-- Close an account. Children must be closed first; a reservation that was never settled counts as spent, since its
-- effect may have happened; the rest of the limit returns to the parent.
CREATE FUNCTION account_close(account_id text) RETURNS void LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    parent_id text;
    account budget_accounts;
    child text;
BEGIN
    SELECT parent INTO parent_id FROM budget_accounts WHERE id = account_id;
    IF parent_id IS NOT NULL THEN
        PERFORM FROM budget_accounts WHERE id = parent_id FOR NO KEY UPDATE;
    END IF;
    SELECT * INTO account FROM budget_accounts WHERE id = account_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        PERFORM account_lock(account_id);
    END IF;
    IF account.closed_at IS NOT NULL THEN
        RETURN;
    END IF;
    FOR child IN SELECT id FROM budget_accounts WHERE parent = account_id AND closed_at IS NULL ORDER BY id LOOP
        PERFORM account_close(child);
    END LOOP;
    account := account_give_up(account_id, NULL);
    IF parent_id IS NOT NULL THEN
        PERFORM account_post(parent_id, 'return', account_id, '', amounts_none(),
            (account.spent_tokens, account.spent_micro_usd, account.spent_tool_calls)::amounts,
            (-account.limit_tokens, -account.limit_micro_usd, -account.limit_tool_calls)::amounts);
    END IF;
    PERFORM account_post(account_id, 'close', account_id, '', amounts_none(), amounts_none(), amounts_none());
    UPDATE budget_accounts SET closed_at = clock_timestamp() WHERE id = account_id;
END $$;

-- Count the open effects of an account as spent, all of them or those of one action in one run.
CREATE FUNCTION account_give_up(account_id text, given_run text, given_action text DEFAULT NULL, but_key text DEFAULT NULL)
RETURNS budget_accounts LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    open_effect effects;
    held amounts;
    account budget_accounts;
BEGIN
    FOR open_effect IN
        SELECT * FROM effects
        WHERE effects.account IS NOT DISTINCT FROM account_id AND state = 'started'
          AND (given_run IS NULL OR (run = given_run AND action = given_action AND key IS DISTINCT FROM but_key))
        ORDER BY key FOR NO KEY UPDATE
    LOOP
        held := (open_effect.reserved_tokens, open_effect.reserved_micro_usd, open_effect.reserved_tool_calls)::amounts;
        IF held <> amounts_none() THEN
            PERFORM account_post(account_id, 'charge', open_effect.key, '', amounts_none(), held,
                                 amounts_minus(amounts_none(), held));
        END IF;
        UPDATE effects SET state = 'charged', finished_at = clock_timestamp(),
            error = 'It never reported: it may have taken effect.'
        WHERE key = open_effect.key;
    END LOOP;
    SELECT * INTO account FROM budget_accounts WHERE id = account_id;
    RETURN account;
END $$;
-- What a tenant or a project may spend in each month, and credit that is spent once. A new month is opened by the first
-- thing that asks for money in it. Months only go forward: a clock that is set back opens nothing twice.
-- Locks are taken from the root down, projects by name.

CREATE FUNCTION amounts_plus(one amounts, other amounts) RETURNS amounts LANGUAGE sql IMMUTABLE AS $$
    SELECT ((one).tokens + (other).tokens, (one).micro_usd + (other).micro_usd,
            (one).tool_calls + (other).tool_calls)::amounts
$$;

-- Dimension by dimension, the greater and the lesser.
CREATE FUNCTION amounts_most(one amounts, other amounts) RETURNS amounts LANGUAGE sql IMMUTABLE AS $$
    SELECT (greatest((one).tokens, (other).tokens), greatest((one).micro_usd, (other).micro_usd),
            greatest((one).tool_calls, (other).tool_calls))::amounts
$$;

CREATE FUNCTION amounts_least(one amounts, other amounts) RETURNS amounts LANGUAGE sql IMMUTABLE AS $$
    SELECT (least((one).tokens, (other).tokens), least((one).micro_usd, (other).micro_usd),
            least((one).tool_calls, (other).tool_calls))::amounts
$$;

CREATE FUNCTION account_limit(account budget_accounts) RETURNS amounts LANGUAGE sql IMMUTABLE AS $$
    SELECT (account.limit_tokens, account.limit_micro_usd, account.limit_tool_calls)::amounts
$$;

CREATE FUNCTION account_spent(account budget_accounts) RETURNS amounts LANGUAGE sql IMMUTABLE AS $$
    SELECT (account.spent_tokens, account.spent_micro_usd, account.spent_tool_calls)::amounts
$$;

CREATE FUNCTION account_reserved(account budget_accounts) RETURNS amounts LANGUAGE sql IMMUTABLE AS $$
    SELECT (account.reserved_tokens, account.reserved_micro_usd, account.reserved_tool_calls)::amounts
$$;

CREATE FUNCTION account_allowance(account budget_accounts) RETURNS amounts LANGUAGE sql IMMUTABLE AS $$
    SELECT (account.allowance_tokens, account.allowance_micro_usd, account.allowance_tool_calls)::amounts
$$;

CREATE FUNCTION account_credit(account budget_accounts) RETURNS amounts LANGUAGE sql IMMUTABLE AS $$
    SELECT (account.credit_tokens, account.credit_micro_usd, account.credit_tool_calls)::amounts
$$;

-- The first day of the month, in UTC.
CREATE FUNCTION month_of(moment timestamptz) RETURNS date LANGUAGE sql IMMUTABLE AS $$
    SELECT date_trunc('month', moment AT TIME ZONE 'UTC')::date
$$;

-- Open the month of `moment` in the tree that an account lies in, where that month is later than the last one.
-- Cheap when there is nothing to do: nothing is locked then.
CREATE FUNCTION period_open(account_id text, moment timestamptz DEFAULT clock_timestamp()) RETURNS void
LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    root_id text := account_id;
    above text;
    month date := month_of(moment);
    root budget_accounts;
    project budget_accounts;
    handed amounts;
BEGIN
    LOOP
        SELECT parent INTO above FROM budget_accounts WHERE id = root_id;
        EXIT WHEN above IS NULL;
        root_id := above;
    END LOOP;
    IF NOT EXISTS (SELECT FROM budget_accounts WHERE id = root_id AND period_start < month)
       AND NOT EXISTS (SELECT FROM budget_accounts WHERE parent = root_id AND closed_at IS NULL AND period_start < month) THEN
        RETURN;
    END IF;
    SELECT * INTO root FROM budget_accounts WHERE id = root_id FOR NO KEY UPDATE;
    -- What a project spent last month is last month's spending of the tenant as well, so it is handed over first.
    FOR project IN
        SELECT * FROM budget_accounts WHERE parent = root_id AND id LIKE 'project:%' AND closed_at IS NULL
            AND period = 'month' AND period_start < month ORDER BY id FOR NO KEY UPDATE
    LOOP
        handed := account_spent(project);
        PERFORM account_post(root_id, 'return', project.id || ' ' || month, '', amounts_none(), handed,
                             amounts_minus(amounts_none(), handed));
        PERFORM account_post(project.id, 'period', 'end of ' || project.period_start, '',
                             amounts_minus(amounts_none(), handed), amounts_minus(amounts_none(), handed), amounts_none());
    END LOOP;
    SELECT * INTO root FROM budget_accounts WHERE id = root_id;
    IF root.period = 'month' AND root.period_start < month THEN
        PERFORM period_renew(root, month);
    END IF;
    FOR project IN
        SELECT * FROM budget_accounts WHERE parent = root_id AND id LIKE 'project:%' AND closed_at IS NULL
            AND period = 'month' AND period_start < month ORDER BY id
    LOOP
        PERFORM period_refill(project, month);
    END LOOP;
END $$;

-- A new month of an account without a parent: nothing is spent; the limit is the allowance and the credit that is left.
CREATE FUNCTION period_renew(account budget_accounts, month date) RETURNS void LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    -- Credit is spent after the allowance.
    used amounts := amounts_most(amounts_none(), amounts_minus(account_spent(account), account_allowance(account)));
    credit amounts := amounts_most(amounts_none(), amounts_minus(account_credit(account), used));
    renewed amounts := amounts_plus(account_allowance(account), credit);
BEGIN
    PERFORM account_post(account.id, 'period', month::text, '', amounts_minus(renewed, account_limit(account)),
                         amounts_minus(amounts_none(), account_spent(account)), amounts_none());
    UPDATE budget_accounts SET period_start = month, credit_tokens = (credit).tokens,
        credit_micro_usd = (credit).micro_usd, credit_tool_calls = (credit).tool_calls
    WHERE id = account.id;
    PERFORM clock_renew(account.id, month);
END $$;

-- A new month of a project, whose spending was handed over: its limit is the allowance again, as far as its parent has it.
CREATE FUNCTION period_refill(project budget_accounts, month date) RETURNS void LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    parent_account budget_accounts;
    change amounts := amounts_minus(
        amounts_most(account_allowance(project), account_reserved(project)), account_limit(project));
BEGIN
    SELECT * INTO parent_account FROM budget_accounts WHERE id = project.parent;
    change := amounts_least(change, account_left(parent_account));
    PERFORM account_post(project.parent, 'carve', project.id || ' ' || month, '', amounts_none(), amounts_none(), change);
    PERFORM account_post(project.id, 'period', month::text, '', change, amounts_none(), amounts_none());
    UPDATE budget_accounts SET period_start = month WHERE id = project.id;
    PERFORM clock_renew(project.id, month);
END $$;

-- Say what an account may spend from now on: a project, which is opened if there is none, or the tenant itself.
-- A limit does not fall below what is spent and held: nothing further begins then.
CREATE FUNCTION account_allow(account_id text, parent_id text, terms jsonb, allowed_by text) RETURNS void
LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    wanted amounts := amounts_of(terms->'allowance');
    wanted_period text := terms->>'period';
    parent_account budget_accounts;
    account budget_accounts;
    change amounts;
BEGIN
    PERFORM set_config('somagent.actor', allowed_by, true);  -- for the audit
    PERFORM period_open(coalesce(parent_id, account_id));
    IF parent_id IS NOT NULL THEN
        parent_account := account_lock(parent_id);
    END IF;
    INSERT INTO budget_accounts (tenant_id, id, parent, project)
    VALUES (current_setting('somagent.tenant'), account_id, parent_id,
            CASE WHEN account_id LIKE 'project:%' THEN substr(account_id, 9) END)
    ON CONFLICT DO NOTHING;
    IF FOUND THEN
        PERFORM account_post(account_id, 'open', account_id, allowed_by, amounts_none(), amounts_none(), amounts_none());
    END IF;
    account := account_lock(account_id);
    IF account.parent IS DISTINCT FROM parent_id THEN
        RAISE EXCEPTION USING ERRCODE = 'SO409', DETAIL = json_build_object('account', account_id),
            MESSAGE = format('Account %L exists already under the parent %L.', account_id, account.parent);
    END IF;
    change := amounts_minus(
        amounts_most(amounts_plus(wanted, account_credit(account)),
                     amounts_plus(account_spent(account), account_reserved(account))), account_limit(account));
    IF parent_id IS NOT NULL AND change <> amounts_none() THEN
        IF amounts_most(change, amounts_none()) <> amounts_none() THEN
            PERFORM account_demand(parent_account, amounts_most(change, amounts_none()));
        END IF;
        PERFORM account_post(parent_id, 'carve', account_id, allowed_by, amounts_none(), amounts_none(), change);
    END IF;
    PERFORM account_post(account_id, 'allow', account_id, allowed_by, change, amounts_none(), amounts_none());
    UPDATE budget_accounts SET
        period = wanted_period,
        period_start = CASE WHEN wanted_period IS NOT NULL THEN greatest(period_start, month_of(clock_timestamp())) END,
        allowance_tokens = (wanted).tokens, allowance_micro_usd = (wanted).micro_usd,
        allowance_tool_calls = (wanted).tool_calls,
        limit_seconds = (terms->>'wall_clock')::bigint,
        rate_tokens = (terms->'rate'->>'tokens')::bigint, rate_calls = (terms->'rate'->>'calls')::bigint
    WHERE id = account_id;
END $$;

-- Give an account without a parent credit, once for each key: a new tenant's test drive.
CREATE FUNCTION account_give_credit(account_id text, amounts_given jsonb, credit_key text, given_by text) RETURNS void
LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    given amounts := amounts_of(amounts_given);
    account budget_accounts := account_lock(account_id);
BEGIN
    IF EXISTS (SELECT FROM ledger_entries AS entry
               WHERE entry.account = account_id AND kind = 'credit' AND key = credit_key) THEN
        RETURN;
    END IF;
    PERFORM account_post(account_id, 'credit', credit_key, given_by, given, amounts_none(), amounts_none());
    UPDATE budget_accounts SET credit_tokens = credit_tokens + (given).tokens,
        credit_micro_usd = credit_micro_usd + (given).micro_usd,
        credit_tool_calls = credit_tool_calls + (given).tool_calls
    WHERE id = account_id;
END $$;

-- Close an account under which nothing is under way. Raises SO409 while something is.
CREATE FUNCTION account_retire(account_id text) RETURNS void LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    parent_id text;
    under_way bigint;
BEGIN
    SELECT parent INTO parent_id FROM budget_accounts WHERE id = account_id;
    IF parent_id IS NOT NULL THEN
        PERFORM account_lock(parent_id);
    END IF;
    PERFORM account_lock(account_id);
    SELECT count(*) INTO under_way FROM budget_accounts WHERE parent = account_id AND closed_at IS NULL;
    IF under_way > 0 THEN
        RAISE EXCEPTION USING ERRCODE = 'SO409', DETAIL = json_build_object('account', account_id),
            MESSAGE = format('Account %L has %s runs under way; it can be closed when they have ended.',
                             account_id, under_way);
    END IF;
    PERFORM account_close(account_id);
END $$;
-- Wall clock: how long runs may work, under a tenant and its projects. A root run holds its capsule's whole wall clock until
-- it ends, then counts what it worked. Children work inside their parent's time and hold nothing above it.
-- Only accounts that have a bound are locked, from the root down.

-- The accounts above a run that bound its time, from the root down.
CREATE FUNCTION clock_bounds(parent_id text) RETURNS SETOF text LANGUAGE sql STABLE SECURITY INVOKER AS $$
    WITH RECURSIVE above AS (
        SELECT id, parent, limit_seconds, 0 AS height FROM budget_accounts WHERE id = parent_id
        UNION ALL
        SELECT one.id, one.parent, one.limit_seconds, height + 1
        FROM budget_accounts AS one JOIN above ON one.id = above.parent
    )
    SELECT id FROM above
    WHERE limit_seconds IS NOT NULL AND parent_id NOT LIKE 'run:%' ORDER BY height DESC
$$;

CREATE FUNCTION clock_post(
    account_id text, entry_kind text, entry_key text, add_spent bigint, add_reserved bigint
) RETURNS void LANGUAGE plpgsql SECURITY INVOKER AS $$
BEGIN
    UPDATE budget_accounts SET spent_seconds = spent_seconds + add_spent, reserved_seconds = reserved_seconds + add_reserved
    WHERE id = account_id;
    INSERT INTO ledger_entries (tenant_id, account, kind, key, spent_seconds, reserved_seconds)
    VALUES (current_setting('somagent.tenant'), account_id, entry_kind, entry_key, add_spent, add_reserved);
END $$;

-- Carve a run's account, with its wall clock where it is bounded. One that exists stays as it is. Raises SO402.
CREATE FUNCTION run_carve(parent_id text, account_id text, amounts_wanted jsonb, seconds bigint) RETURNS void
LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    bound_id text;
    bound budget_accounts;
    seconds_left bigint;
    fresh boolean := NOT EXISTS (SELECT FROM budget_accounts WHERE id = account_id);
BEGIN
    IF fresh THEN
        PERFORM period_open(parent_id);
        FOR bound_id IN SELECT clock_bounds(parent_id) LOOP
            bound := account_lock(bound_id);
            seconds_left := greatest(0, bound.limit_seconds - bound.spent_seconds - bound.reserved_seconds);
            IF seconds > seconds_left THEN
                RAISE EXCEPTION USING ERRCODE = 'SO402',
                    MESSAGE = format('Account %L has %s s of wall clock left, and the run may take %s s. '
                                     'Raise its wall clock, or wait for runs to end.', bound_id, seconds_left, seconds),
                    DETAIL = json_build_object('account', bound_id, 'dimension', 'seconds', 'left',
                                               json_build_object('seconds', seconds_left));
            END IF;
        END LOOP;
    END IF;
    PERFORM account_carve(parent_id, account_id, amounts_wanted);
    -- Two admissions of one run may have come here; the account's row lets one after the other pass.
    PERFORM FROM budget_accounts WHERE id = account_id AND limit_seconds IS NULL FOR NO KEY UPDATE;
    IF fresh AND FOUND THEN
        UPDATE budget_accounts SET limit_seconds = seconds WHERE id = account_id;
        PERFORM clock_post(bounding, 'clock', account_id, 0, seconds) FROM clock_bounds(parent_id) AS bounding;
    END IF;
END $$;

-- Count what a run worked, once: what it held when nobody can say. Before its account is closed.
CREATE FUNCTION clock_end(account_id text, worked bigint) RETURNS void LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    held bigint;
    above text;
    closed boolean;
BEGIN
    SELECT limit_seconds, parent, closed_at IS NOT NULL INTO held, above, closed FROM budget_accounts WHERE id = account_id;
    IF held IS NULL OR closed THEN
        RETURN;
    END IF;
    PERFORM clock_post(bounding, 'clocked', account_id, coalesce(worked, held), -held)
    FROM clock_held(above, account_id) AS bounding;
    UPDATE budget_accounts SET spent_seconds = coalesce(worked, held) WHERE id = account_id;
END $$;

-- The accounts that a run holds time of, locked from the root down.
CREATE FUNCTION clock_held(parent_id text, account_id text) RETURNS SETOF text LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    root_id text;
    candidate text;
BEGIN
    SELECT parent INTO root_id FROM budget_accounts WHERE id = parent_id;
    FOREACH candidate IN ARRAY array_remove(ARRAY[root_id, parent_id], NULL) LOOP
        IF EXISTS (SELECT FROM ledger_entries AS entry
                   WHERE entry.account = candidate AND kind = 'clock' AND key = account_id) THEN
            PERFORM FROM budget_accounts WHERE id = candidate FOR NO KEY UPDATE;
            RETURN NEXT candidate;
        END IF;
    END LOOP;
END $$;

-- A new month: nothing is worked yet; what runs under way hold stays held.
CREATE FUNCTION clock_renew(account_id text, month date) RETURNS void LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    worked bigint;
BEGIN
    SELECT spent_seconds INTO worked FROM budget_accounts WHERE id = account_id;
    IF worked <> 0 THEN
        PERFORM clock_post(account_id, 'period', 'wall clock of ' || month, -worked, 0);
    END IF;
END $$;
-- What must be true of a tenant's money at every moment, as a question that anybody may ask. No row is the right answer.

CREATE FUNCTION account_conservation() RETURNS TABLE (account text, dimension text, law text, expected bigint, found bigint)
LANGUAGE sql STABLE SECURITY INVOKER AS $$
    WITH balances AS (
        SELECT one.id, one.closed_at, told.*
        FROM budget_accounts AS one CROSS JOIN LATERAL (VALUES
            ('tokens', limit_tokens, spent_tokens, reserved_tokens, overrun_tokens),
            ('micro_usd', limit_micro_usd, spent_micro_usd, reserved_micro_usd, overrun_micro_usd),
            ('tool_calls', limit_tool_calls, spent_tool_calls, reserved_tool_calls, overrun_tool_calls)
        ) AS told (dimension, bound, spent, reserved, overrun)
    ), entries AS (
        SELECT entry.account AS id, told.dimension, sum(told.bound)::bigint AS bound, sum(told.spent)::bigint AS spent,
               sum(told.reserved)::bigint AS reserved
        FROM ledger_entries AS entry CROSS JOIN LATERAL (VALUES
            ('tokens', limit_tokens, spent_tokens, reserved_tokens),
            ('micro_usd', limit_micro_usd, spent_micro_usd, reserved_micro_usd),
            ('tool_calls', limit_tool_calls, spent_tool_calls, reserved_tool_calls)
        ) AS told (dimension, bound, spent, reserved)
        GROUP BY entry.account, told.dimension
    ), children AS (
        SELECT parent AS id, told.dimension, sum(told.held)::bigint AS held
        FROM budget_accounts CROSS JOIN LATERAL (VALUES
            ('tokens', limit_tokens), ('micro_usd', limit_micro_usd), ('tool_calls', limit_tool_calls)
        ) AS told (dimension, held)
        WHERE parent IS NOT NULL AND closed_at IS NULL
        GROUP BY parent, told.dimension
    ), effects_open AS (
        SELECT effects.account AS id, told.dimension, sum(told.held)::bigint AS held
        FROM effects CROSS JOIN LATERAL (VALUES
            ('tokens', reserved_tokens), ('micro_usd', reserved_micro_usd), ('tool_calls', reserved_tool_calls)
        ) AS told (dimension, held)
        WHERE state = 'started'
        GROUP BY effects.account, told.dimension
    ), effect_entries AS (
        -- What is held for one effect: what its entries reserved and gave back.
        SELECT entry.account AS id, entry.key, told.dimension, sum(told.reserved)::bigint AS held
        FROM ledger_entries AS entry CROSS JOIN LATERAL (VALUES
            ('tokens', reserved_tokens), ('micro_usd', reserved_micro_usd), ('tool_calls', reserved_tool_calls)
        ) AS told (dimension, reserved)
        WHERE entry.kind IN ('reserve', 'settle', 'charge')
        GROUP BY entry.account, entry.key, told.dimension
    ), effect_rows AS (
        SELECT effects.account AS id, effects.key, told.dimension, told.held
        FROM effects CROSS JOIN LATERAL (VALUES
            ('tokens', reserved_tokens), ('micro_usd', reserved_micro_usd), ('tool_calls', reserved_tool_calls)
        ) AS told (dimension, held)
        WHERE state = 'started'
    )
    SELECT balance.id, balance.dimension, law.name, law.expected, law.found
    FROM balances AS balance
    LEFT JOIN entries USING (id, dimension)
    LEFT JOIN children USING (id, dimension)
    LEFT JOIN effects_open USING (id, dimension)
    CROSS JOIN LATERAL (VALUES
        ('the limit is the sum of its entries', coalesce(entries.bound, 0), balance.bound),
        ('what is spent is the sum of its entries', coalesce(entries.spent, 0), balance.spent),
        ('what is reserved is the sum of its entries', coalesce(entries.reserved, 0), balance.reserved),
        ('what is reserved is what open children and effects hold',
         coalesce(children.held, 0) + coalesce(effects_open.held, 0), balance.reserved),
        ('what is over the limit is the overrun', greatest(0, balance.spent + balance.reserved - balance.bound),
         balance.overrun),
        ('a closed account holds nothing', 0, CASE WHEN balance.closed_at IS NULL THEN 0 ELSE balance.reserved END)
    ) AS law (name, expected, found)
    WHERE law.expected <> law.found
    UNION ALL
    SELECT one.id, 'seconds', law.name, law.expected, law.found
    FROM budget_accounts AS one CROSS JOIN LATERAL (
        SELECT coalesce(sum(spent_seconds), 0)::bigint AS spent, coalesce(sum(reserved_seconds), 0)::bigint AS reserved
        FROM ledger_entries AS entry WHERE entry.account = one.id
    ) AS told CROSS JOIN LATERAL (
        SELECT coalesce(sum(held.reserved_seconds), 0)::bigint AS seconds
        FROM ledger_entries AS held JOIN budget_accounts AS run ON run.id = held.key AND run.closed_at IS NULL
        WHERE held.account = one.id AND held.kind = 'clock'
    ) AS runs CROSS JOIN LATERAL (VALUES
        ('what is worked is the sum of its entries', told.spent, one.spent_seconds),
        ('what is held is the sum of its entries', told.reserved, one.reserved_seconds),
        ('what is held is what open runs may work', runs.seconds, one.reserved_seconds)
    ) AS law (name, expected, found)
    WHERE one.id NOT LIKE 'run:%' AND law.expected <> law.found
    UNION ALL
    SELECT coalesce(entry.id, row.id), coalesce(entry.dimension, row.dimension),
           'an effect holds what its entries reserved: ' || coalesce(entry.key, row.key),
           coalesce(entry.held, 0), coalesce(row.held, 0)
    FROM effect_entries AS entry FULL JOIN effect_rows AS row USING (id, key, dimension)
    WHERE coalesce(entry.held, 0) <> coalesce(row.held, 0)
    ORDER BY 1, 2, 3
$$;
-- Standing grants: a yes given in advance, for so many actions of a proved scope.

-- The grants that count now under a constitution. One whose granter is known here and has lost the capability does not.
CREATE FUNCTION standing_open(wanted text) RETURNS SETOF standing_grants
LANGUAGE sql STABLE SECURITY INVOKER AS $$
    SELECT given.* FROM standing_grants AS given
    WHERE given.constitution = wanted AND given.revoked_at IS NULL AND given.uses_left > 0
      AND given.expires_at > clock_timestamp()
      AND NOT EXISTS (SELECT FROM principals
                      WHERE subject = given.granted_by AND given.capability <> ALL (principals.capabilities))
$$;

-- What the gate is told of them. Creating one refuses more than may be open, so none is left out here.
CREATE FUNCTION standing_facts(wanted text) RETURNS json LANGUAGE sql STABLE SECURITY INVOKER AS $$
    SELECT coalesce(json_agg(json_build_object(
        'id', id, 'scope', scope, 'capability', capability, 'granted_by', granted_by) ORDER BY expires_at, id), '[]')
    FROM (SELECT * FROM standing_open(wanted) ORDER BY expires_at, id LIMIT 50) AS few
$$;

-- The grant under which this very effect began before, unless it was revoked since; else the first offered one that
-- still has a use, its row locked. A person who was asked about exactly this action, or refused it, goes before any.
CREATE FUNCTION gate_standing(entry jsonb) RETURNS standing_grants LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    found_grant standing_grants;
    offered text;
BEGIN
    SELECT given.* INTO found_grant FROM standing_uses AS used JOIN standing_grants AS given ON given.id = used.standing
    WHERE used.effect = entry->>'effect' AND used.action = entry->>'action_digest' AND given.revoked_at IS NULL;
    IF FOUND THEN
        RETURN found_grant;
    END IF;
    IF EXISTS (SELECT FROM approvals WHERE run = entry->>'run' AND action = entry->>'action_digest'
               AND (state IN ('denied', 'edited') OR (state = 'pending' AND expires_at > clock_timestamp()))) THEN
        RETURN NULL;
    END IF;
    FOR offered IN SELECT jsonb_array_elements_text(coalesce(entry->'standing', '[]')) LOOP
        PERFORM 1 FROM standing_grants WHERE id = offered FOR NO KEY UPDATE;
        -- Read anew after the lock was waited for: the last use may be gone.
        SELECT * INTO found_grant FROM standing_open(entry->>'constitution')
        WHERE id = offered AND granted_by <> entry->>'actor';
        IF FOUND THEN
            RETURN found_grant;
        END IF;
    END LOOP;
    RETURN NULL;
END $$;

-- Take one use for an effect that begins now. A retry of the effect takes none.
CREATE FUNCTION standing_take(entry jsonb, taken standing_grants) RETURNS void LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    remaining integer;
BEGIN
    INSERT INTO standing_uses (tenant_id, effect, standing, run, action, used_at)
    VALUES (entry->>'tenant', entry->>'effect', taken.id, entry->>'run', entry->>'action_digest', clock_timestamp())
    ON CONFLICT DO NOTHING;
    IF FOUND THEN
        UPDATE standing_grants SET uses_left = uses_left - 1 WHERE id = taken.id RETURNING uses_left INTO remaining;
        PERFORM event_add('approval.events', 'grant.used', entry->>'run', json_build_object(
            'grant', taken.id, 'granted_by', taken.granted_by, 'uses_left', remaining,
            'action', entry->>'action_digest', 'kind', entry->>'kind', 'target', entry->>'target'));
    END IF;
END $$;
-- Approvals as the gate opens them. People's answers are written by `somagent/store/approvals.py`; whether they suffice
-- is a constraint of the table.

-- Open an approval of the action of `entry`. With answers from before it may be approved at once.
CREATE FUNCTION approval_open(entry jsonb, why text, original text, said jsonb) RETURNS approvals
LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    moment timestamptz := clock_timestamp();
    enough boolean := approval_satisfied(entry->'demands', said);
    expiry timestamptz := moment + make_interval(secs => (entry->>'expires_seconds')::double precision);
    opened approvals;
BEGIN
    INSERT INTO approvals (tenant_id, id, run, action, kind, target, sentence, demands, escalation, requested_by,
                           requested_at, expires_at, answers, state, decided_by, decided_at, edited_from)
    VALUES (entry->>'tenant', gen_random_uuid()::text, entry->>'run', entry->>'action_digest', entry->>'kind',
            entry->>'target', why, entry->'demands', approval_groups(entry->'escalation', moment, expiry),
            entry->>'actor', moment, expiry, said, CASE WHEN enough THEN 'approved' ELSE 'pending' END,
            CASE WHEN enough THEN said->-1->>'by' END, CASE WHEN enough THEN moment END, original)
    RETURNING * INTO opened;
    IF NOT enough THEN
        PERFORM event_add('approval.events', 'approval.requested', opened.run, json_build_object(
            'approval', opened.id, 'action', opened.action, 'kind', opened.kind, 'target', opened.target,
            'sentence', opened.sentence, 'demands', opened.demands, 'escalation', opened.escalation,
            'requested_by', opened.requested_by, 'expires_at', opened.expires_at));
    END IF;
    RETURN opened;
END $$;

-- When each later group may decide, soonest first. One whose moment would come after the end is never asked.
CREATE FUNCTION approval_groups(steps jsonb, moment timestamptz, expiry timestamptz) RETURNS jsonb
LANGUAGE sql STABLE AS $$
    SELECT coalesce(jsonb_agg(jsonb_build_object('capability', step->>'capability', 'at', at) ORDER BY at, ordinal), '[]')
    FROM jsonb_array_elements(steps) WITH ORDINALITY AS listed (step, ordinal),
         LATERAL (SELECT moment + make_interval(secs => (step->>'after_seconds')::double precision) AS at) AS timed
    WHERE at < expiry
$$;

-- What the gate tells the run of an approval that it waits for.
CREATE FUNCTION approval_request(asked approvals) RETURNS json LANGUAGE sql STABLE AS $$
    SELECT json_build_object(
        'id', asked.id, 'run', asked.run, 'action', asked.action, 'kind', asked.kind, 'target', asked.target,
        'sentence', asked.sentence, 'capability', asked.demands->0->>'capability', 'demands', asked.demands,
        'escalation', asked.escalation, 'requested_by', asked.requested_by, 'expires_at', asked.expires_at)
$$;

-- Where a person edited another action into this one: open its approval, in which the editor's yes is one of those it
-- asks for. It counts for one demand only, so that who wrote the arguments is alone enough only where one person is.
CREATE FUNCTION approval_of_edit(entry jsonb) RETURNS void LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    original approvals;
    edit jsonb;
    counts text;
BEGIN
    SELECT * INTO original FROM approvals
    WHERE run = entry->>'run' AND edited_to = entry->>'action_digest' AND expires_at > clock_timestamp()
      AND NOT EXISTS (SELECT FROM approvals AS later WHERE later.edited_from = approvals.id)
      AND NOT EXISTS (SELECT FROM approvals AS later WHERE later.run = approvals.run AND later.state = 'pending'
                                                      AND later.action = approvals.edited_to)
    ORDER BY decided_at LIMIT 1;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    edit := original.answers->-1;
    SELECT demand->>'capability' INTO counts
    FROM jsonb_array_elements(entry->'demands') WITH ORDINALITY AS listed (demand, ordinal)
    WHERE edit->'capabilities' ? (demand->>'capability') ORDER BY ordinal LIMIT 1;
    PERFORM approval_open(entry, entry->>'sentence', original.id, CASE WHEN counts IS NULL THEN '[]' ELSE
        jsonb_build_array(edit || jsonb_build_object(
            'said', 'yes', 'escalated', false, 'capabilities', jsonb_build_array(counts))) END);
END $$;

-- Who said yes, in canonical JSON, for the receipt of the action that began by it.
CREATE FUNCTION approval_approvers(answers jsonb) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT '[' || coalesce(string_agg(format('{"by":%s,"on_behalf_of":%s}', canonical_text(answer->>'by'),
                                             canonical_text(answer->>'on_behalf_of')), ',' ORDER BY ordinal), '') || ']'
    FROM jsonb_array_elements(answers) WITH ORDINALITY AS listed (answer, ordinal) WHERE answer->>'said' = 'yes'
$$;
-- What the store remembers of an actor and a target. Windows bound the work: each part reads at most so many rows, by an
-- index, however many there are. A part that is not asked for (null) is not looked up.

-- Decisions in the actor's last 100 runs, and how many of them were denials.
CREATE FUNCTION history_decisions(of_actor text) RETURNS json LANGUAGE sql STABLE SECURITY INVOKER AS $$
    SELECT json_build_object('of', coalesce(sum(decisions), 0), 'bad', coalesce(sum(denials), 0))
    FROM (SELECT decisions, denials FROM runs WHERE actor = of_actor ORDER BY created_at DESC LIMIT 100) AS recent
$$;

-- The last 200 uses of the target that have ended, and how many did not succeed; one under way counts for nothing.
CREATE FUNCTION history_uses(of_kind text, of_target text) RETURNS json LANGUAGE sql STABLE SECURITY INVOKER AS $$
    SELECT json_build_object('of', count(*), 'bad', count(*) FILTER (WHERE state <> 'done'))
    FROM (SELECT state FROM effects WHERE kind = of_kind AND target = of_target AND state <> 'started'
          ORDER BY started_at DESC LIMIT 200) AS recent
$$;

CREATE FUNCTION gate_history(asked jsonb) RETURNS json LANGUAGE plpgsql STABLE SECURITY INVOKER AS $$
DECLARE
    found jsonb := '{}';
BEGIN
    IF asked->>'actor' IS NOT NULL THEN
        found := found || jsonb_build_object('decisions', history_decisions(asked->>'actor'));
    END IF;
    IF asked->>'target' IS NOT NULL THEN
        found := found || jsonb_build_object('uses', history_uses(asked->>'kind', asked->>'target'));
    END IF;
    RETURN found;
END $$;
-- Before an effect: everything that must be true together, in one transaction and one round trip.

-- What the store knows when an action is judged.
CREATE FUNCTION gate_facts(tenant text, run_id text, account_id text, constitution text, asked jsonb DEFAULT '{}')
RETURNS json
LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    account budget_accounts;
    account_facts json;
    rates json;
    known runs;
BEGIN
    PERFORM set_config('somagent.tenant', tenant, true);
    SELECT * INTO known FROM runs WHERE id = run_id;
    SELECT * INTO account FROM budget_accounts WHERE id = account_id;
    IF account.id IS NOT NULL AND account.closed_at IS NULL THEN
        account_facts := json_build_object(
            'id', account.id,
            'parent', account.parent,
            'limit', amounts_json((account.limit_tokens, account.limit_micro_usd, account.limit_tool_calls)),
            'spent', amounts_json((account.spent_tokens, account.spent_micro_usd, account.spent_tool_calls)),
            'reserved',
            amounts_json((account.reserved_tokens, account.reserved_micro_usd, account.reserved_tool_calls)));
        SELECT json_agg(json_build_object('account', id, 'tokens', rate_tokens, 'calls', rate_calls) ORDER BY id) INTO rates
        FROM budget_accounts WHERE id IN ('tenant:' || tenant, 'project:' || account.project)
            AND (rate_tokens IS NOT NULL OR rate_calls IS NOT NULL);
    END IF;
    RETURN json_build_object(
        'account', account_facts,
        'rates', coalesce(rates, '[]'),
        'denials', coalesce(known.denials, 0),
        'sequences', coalesce(known.sequences, '{}'),
        -- a child's id is its parent's, a slash and the task; only before its first action it has no row that says so
        'parent', CASE WHEN known.id IS NOT NULL THEN known.parent
                       ELSE (SELECT id FROM runs WHERE id = regexp_replace(run_id, '/[^/]*$', '')) END,
        'standing', standing_facts(constitution),
        'history', gate_history(asked),
        'shadow', constitution_of(tenant, 'shadow'),
        'constitution', constitution_standing(constitution));
END $$;

CREATE FUNCTION constitution_standing(wanted text) RETURNS text LANGUAGE sql STABLE SECURITY INVOKER AS $$
    SELECT coalesce(
        (SELECT CASE state WHEN 'revoked' THEN 'revoked' ELSE 'valid' END FROM constitutions WHERE digest = wanted),
        'unknown')
$$;

-- Lock the run's row, entering the run if the gate is the first to see it: schedules do not pass the API.
CREATE FUNCTION gate_run(entry jsonb) RETURNS runs LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    found_run runs;
    run_id text := entry->>'run';
BEGIN
    SELECT * INTO found_run FROM runs WHERE id = run_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        INSERT INTO runs (tenant_id, id, capsule, actor, parent, status, inputs)
        VALUES (entry->>'tenant', run_id, entry->>'capsule', entry->>'actor',
                -- a child's id is its parent's, a slash and the task
                (SELECT id FROM runs WHERE id = regexp_replace(run_id, '/[^/]*$', '')), 'running', '{}')
        ON CONFLICT DO NOTHING;
        IF FOUND THEN
            PERFORM event_add('agent.events', 'run.started', run_id,
                json_build_object('capsule', entry->>'capsule', 'actor', entry->>'actor'));
        END IF;
        SELECT * INTO STRICT found_run FROM runs WHERE id = run_id FOR NO KEY UPDATE;
    END IF;
    IF found_run.closed_at IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'SO409', DETAIL = json_build_object('run', run_id),
            MESSAGE = format('Run %L has ended (%s); nothing may begin in it.', run_id, found_run.status);
    END IF;
    IF found_run.account IS NULL AND entry->>'account' = 'run:' || run_id THEN
        UPDATE runs SET account = entry->>'account' WHERE id = run_id;
    END IF;
    RETURN found_run;
END $$;

-- Write a decision: the receipt and its event. `answers` are what the database adds, as canonical text.
CREATE FUNCTION gate_decide(entry jsonb, decided text, reason text, answers jsonb, denied integer DEFAULT 0)
RETURNS json LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    receipt json := receipt_append(
        entry->>'run', 'decision', entry->>'activity', (entry->>'attempt')::integer,
        (entry->'parts') || answers || jsonb_build_object(
            'decision', canonical_text(decided), 'reason', canonical_text(reason)),
        denied);
BEGIN
    PERFORM event_add('policy.decisions', 'action.decided', entry->>'run', json_build_object(
        'activity', entry->>'activity', 'attempt', (entry->>'attempt')::integer,
        'kind', entry->>'kind', 'target', entry->>'target', 'decision', decided, 'reason', reason,
        'score', (entry->>'score')::bigint, 'threshold', (entry->>'threshold')::bigint,
        'sentence', entry->>'sentence', 'receipt', receipt));
    RETURN receipt;
END $$;

-- The approval that lets this action pass: an approved one in time, or the one that this very effect used before.
-- After an attempt that may have taken effect, only a new one counts.
CREATE FUNCTION gate_grant(entry jsonb, uncertain boolean) RETURNS approvals
LANGUAGE sql SECURITY INVOKER AS $$
    SELECT * FROM approvals
    WHERE run = entry->>'run' AND action = entry->>'action_digest' AND approval_satisfied(entry->'demands', answers)
      AND ((state = 'approved' AND expires_at > clock_timestamp())
           OR (state = 'used' AND used_by = entry->>'effect' AND NOT uncertain))
    ORDER BY state = 'used' DESC, requested_at, id LIMIT 1
$$;

-- Find or create the pending approval, write the decision, answer `ask`.
CREATE FUNCTION gate_ask(entry jsonb, reason text, why text) RETURNS json LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    pending approvals;
    receipt json;
    request json;
BEGIN
    UPDATE approvals SET state = 'expired'
    WHERE run = entry->>'run' AND action = entry->>'action_digest'
      AND state = 'pending' AND expires_at <= clock_timestamp();
    SELECT * INTO pending FROM approvals
    WHERE run = entry->>'run' AND action = entry->>'action_digest' AND state = 'pending';
    IF NOT FOUND THEN
        pending := approval_open(entry, why, NULL, '[]');
    END IF;
    receipt := gate_decide(entry, 'ask', reason, jsonb_build_object('approval', canonical_text(pending.id)));
    request := approval_request(pending);
    RETURN json_build_object('status', 'ask', 'receipt', receipt, 'approval', request, 'sentence', pending.sentence);
END $$;

-- Let an effect begin, or say why not. The order of the checks is the specification.
CREATE FUNCTION gate_begin(entry jsonb) RETURNS json LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    this_run runs;
    run_id text := entry->>'run';
    effect_key text := entry->>'effect';
    account_id text := entry->>'account';
    cost amounts := amounts_of(entry->'cost');
    free boolean := cost = amounts_none();
    standing text;
    effect effects;
    uncertain boolean := false;
    grant_used approvals;
    given_before standing_grants;
    account budget_accounts;
    answers jsonb := '{}';
    why text;
    held boolean;
BEGIN
    PERFORM set_config('somagent.tenant', entry->>'tenant', true);
    this_run := gate_run(entry);

    standing := constitution_standing(entry->>'constitution');
    IF standing <> 'valid' THEN
        why := format('Constitution %s is %s; nothing runs under it.', entry->>'constitution', standing);
        RETURN json_build_object('status', 'revoked', 'sentence', why, 'receipt', gate_decide(
            entry, 'deny', 'constitution', jsonb_build_object('why', canonical_text(why))));
    END IF;

    SELECT * INTO effect FROM effects WHERE key = effect_key;
    IF effect.state = 'done' THEN
        RETURN json_build_object('status', 'replay', 'result', effect.result, 'receipt', gate_decide(
            entry, 'allow', 'replay', jsonb_build_object('replay', 'true')));
    END IF;

    -- Another action of this run took place since the facts were read, and the sequences moved on: judge again.
    IF entry->'sequences_after' <> '{}' AND this_run.sequences <> entry->'sequences_before' THEN
        RETURN json_build_object('status', 'stale');
    END IF;

    IF entry->>'decision' NOT IN ('allow', 'ask') THEN
        RETURN json_build_object('status', 'denied', 'sentence', entry->>'sentence', 'receipt', gate_decide(
            entry, 'deny', 'policy', '{}', 1));
    END IF;

    -- Any unfinished attempt at the same action may have taken effect: under this key, or under the key that the
    -- workflow used before it was told to wait for a person.
    IF NOT (entry->>'idempotent')::boolean THEN
        uncertain := EXISTS (
            SELECT FROM effects WHERE run = run_id AND action = entry->>'action_digest' AND state = 'started');
    END IF;

    IF uncertain OR entry->>'decision' = 'ask' THEN
        IF NOT uncertain THEN
            PERFORM approval_of_edit(entry);
        END IF;
        grant_used := gate_grant(entry, uncertain);
        IF grant_used.id IS NULL AND NOT uncertain THEN
            given_before := gate_standing(entry);
        END IF;
        IF grant_used.id IS NULL AND given_before.id IS NULL THEN
            IF uncertain THEN
                RETURN gate_ask(entry, 'uncertain', format(
                    'An earlier attempt may have taken effect, and %s cannot safely be done twice. '
                    'Look before you approve it again.', entry->>'target'));
            END IF;
            RETURN gate_ask(entry, 'policy', entry->>'sentence');
        END IF;
        answers := jsonb_build_object(
            'approval', canonical_text(grant_used.id), 'approved_by', canonical_text(grant_used.decided_by),
            'approvers', approval_approvers(grant_used.answers));
        IF given_before.id IS NOT NULL THEN
            answers := jsonb_build_object('standing_grant', canonical_text(given_before.id),
                                          'approved_by', canonical_text(given_before.granted_by));
        END IF;
    END IF;

    -- Its time has not come: nothing is reserved and no yes is used up.
    IF entry->>'slow' IS NOT NULL THEN
        RETURN json_build_object('status', 'slow', 'sentence', entry->>'slow', 'receipt', gate_decide(
            entry, 'deny', 'rate', jsonb_build_object('why', canonical_text(entry->>'slow'))));
    END IF;

    held := effect.state = 'started' AND (effect.reserved_tokens, effect.reserved_micro_usd, effect.reserved_tool_calls)
            <> (0, 0, 0);
    IF NOT free AND held IS NOT TRUE THEN
        SELECT * INTO account FROM budget_accounts WHERE id = account_id FOR NO KEY UPDATE;
        IF account.closed_at IS NOT NULL THEN
            account := NULL;
        END IF;
        why := CASE WHEN account.id IS NULL THEN 'account' ELSE account_short(account, cost) END;
        IF why IS NOT NULL THEN
            why := format('Account %L cannot cover %s: %s', account_id, amounts_json(cost),
                CASE WHEN account.id IS NULL THEN 'it does not exist or is closed.'
                     ELSE format('it has %s left.', amounts_json(account_left(account))) END);
            RETURN json_build_object('status', 'exhausted', 'sentence', why,
                'left', amounts_json(coalesce(account_left(account), amounts_none())),
                'receipt', gate_decide(entry, 'deny', 'budget', jsonb_build_object('why', canonical_text(why))));
        END IF;
        PERFORM account_post(account_id, 'reserve', effect_key, '', amounts_none(), amounts_none(), cost);
    END IF;

    IF uncertain THEN
        PERFORM account_give_up(other.account, run_id, entry->>'action_digest', effect_key)
        FROM (SELECT DISTINCT effects.account FROM effects
              WHERE run = run_id AND action = entry->>'action_digest' AND state = 'started' AND key <> effect_key) AS other;
    END IF;
    IF grant_used.state = 'approved' THEN
        UPDATE approvals SET state = 'used', used_by = effect_key WHERE id = grant_used.id;
    END IF;
    IF given_before.id IS NOT NULL THEN
        PERFORM standing_take(entry, given_before);
    END IF;
    INSERT INTO effects (tenant_id, key, run, kind, target, action, state, attempt, account,
                         reserved_tokens, reserved_micro_usd, reserved_tool_calls, started_at)
    VALUES (entry->>'tenant', effect_key, run_id, entry->>'kind', entry->>'target', entry->>'action_digest', 'started',
            (entry->>'attempt')::integer, account_id, (cost).tokens, (cost).micro_usd, (cost).tool_calls,
            clock_timestamp())
    ON CONFLICT (tenant_id, key) DO UPDATE SET
        state = 'started', attempt = excluded.attempt, account = excluded.account, error = '',
        reserved_tokens = CASE WHEN held THEN effects.reserved_tokens ELSE excluded.reserved_tokens END,
        reserved_micro_usd = CASE WHEN held THEN effects.reserved_micro_usd ELSE excluded.reserved_micro_usd END,
        reserved_tool_calls = CASE WHEN held THEN effects.reserved_tool_calls ELSE excluded.reserved_tool_calls END,
        started_at = excluded.started_at, finished_at = NULL;
    IF entry->'sequences_after' <> '{}' AND this_run.sequences <> entry->'sequences_after' THEN
        UPDATE runs SET sequences = entry->'sequences_after' WHERE id = run_id;
    END IF;
    RETURN json_build_object('status', 'go', 'sentence', entry->>'sentence', 'receipt', gate_decide(
        entry, 'allow',
        CASE WHEN given_before.id IS NOT NULL THEN 'standing grant' WHEN grant_used.id IS NULL THEN 'policy'
             ELSE 'approval' END, answers));
END $$;
-- After an effect: settle the reservation with real usage, keep the result, write the outcome. Once for each attempt.

CREATE FUNCTION gate_topic(kind text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN kind = 'tool.invoke' THEN 'tool.events' WHEN kind LIKE 'slm.%' THEN 'slm.responses'
                ELSE 'agent.events' END
$$;

-- `outcome` holds what happened; `result_text` is kept as it comes, so that its digest can be checked.
CREATE FUNCTION gate_finish(outcome jsonb, result_text json) RETURNS json LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    run_id text := outcome->>'run';
    effect_key text := outcome->>'effect';
    number integer := (outcome->>'attempt')::integer;
    succeeded boolean := (outcome->>'ok')::boolean;
    usage amounts := amounts_of(outcome->'usage');
    nothing amounts := amounts_none();
    effect effects;
    account budget_accounts;
    before budget_accounts;
    held amounts;
    released amounts := amounts_none();
    beyond amounts;
    latest boolean;
    left_over json;
    receipt json;
    ended timestamptz;
BEGIN
    PERFORM set_config('somagent.tenant', outcome->>'tenant', true);
    SELECT closed_at INTO ended FROM runs WHERE id = run_id FOR NO KEY UPDATE;
    IF ended IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'SO409', DETAIL = json_build_object('run', run_id),
            MESSAGE = format('Run %L ended before effect %L reported; its reservation counts as spent.', run_id, effect_key);
    END IF;
    -- Locks: run, account, effect. The first look at the effect only tells the account.
    SELECT * INTO effect FROM effects WHERE key = effect_key;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'SO409', DETAIL = json_build_object('effect', effect_key),
            MESSAGE = format('Effect %L never began, so it cannot finish.', effect_key);
    END IF;
    held := (effect.reserved_tokens, effect.reserved_micro_usd, effect.reserved_tool_calls)::amounts;
    IF effect.account IS NOT NULL AND (held <> nothing OR usage <> nothing) THEN
        SELECT * INTO account FROM budget_accounts WHERE id = effect.account FOR NO KEY UPDATE;
        IF account.closed_at IS NOT NULL THEN
            PERFORM account_lock(effect.account);
        END IF;
        SELECT * INTO effect FROM effects WHERE key = effect_key;
    END IF;
    IF effect.outcomes ? (outcome->>'attempt') THEN
        RETURN json_build_object('receipt', effect.outcomes->(outcome->>'attempt'), 'left', gate_left(effect.account));
    END IF;

    -- A late report of an attempt that was overtaken adds its usage and leaves the later attempt's reservation.
    latest := effect.attempt = number;
    IF effect.state = 'charged' THEN
        usage := amounts_minus(usage, held); -- what was charged in its place becomes what it really was
    ELSIF latest THEN
        released := held;
    END IF;
    IF account.id IS NOT NULL AND (usage <> nothing OR released <> nothing) THEN
        before := account;
        account := account_post(account.id, 'settle', effect_key, '', nothing, usage, amounts_minus(nothing, released));
        left_over := amounts_json(account_left(account));
    ELSE
        left_over := gate_left(effect.account);
    END IF;
    usage := amounts_of(outcome->'usage');
    beyond := (greatest(0, (usage).tokens - (held).tokens), greatest(0, (usage).micro_usd - (held).micro_usd),
               greatest(0, (usage).tool_calls - (held).tool_calls))::amounts;

    receipt := receipt_append(run_id, 'outcome', outcome->>'activity', number,
        (outcome->'parts') || jsonb_build_object(
            'reserved', canonical_amounts(held),
            'overrun', CASE WHEN beyond = nothing THEN 'null' ELSE canonical_amounts(beyond) END));
    UPDATE effects SET
        state = CASE WHEN effects.state = 'done' OR succeeded THEN 'done'
                     WHEN latest THEN 'failed' ELSE effects.state END,
        result = CASE WHEN effects.state <> 'done' AND succeeded THEN result_text ELSE effects.result END,
        error = CASE WHEN succeeded THEN '' ELSE outcome->>'error' END,
        reserved_tokens = CASE WHEN latest OR effects.state = 'charged' THEN 0 ELSE effects.reserved_tokens END,
        reserved_micro_usd = CASE WHEN latest OR effects.state = 'charged' THEN 0 ELSE effects.reserved_micro_usd END,
        reserved_tool_calls = CASE WHEN latest OR effects.state = 'charged' THEN 0 ELSE effects.reserved_tool_calls END,
        used_tokens = used_tokens + (usage).tokens,
        used_micro_usd = used_micro_usd + (usage).micro_usd,
        used_tool_calls = used_tool_calls + (usage).tool_calls,
        outcomes = outcomes || jsonb_build_object(outcome->>'attempt', receipt),
        finished_at = clock_timestamp()
    WHERE key = effect_key;
    PERFORM event_add(gate_topic(effect.kind), 'action.finished', run_id, json_build_object(
        'activity', outcome->>'activity', 'attempt', number, 'kind', effect.kind, 'target', effect.target,
        'ok', succeeded, 'error', outcome->>'error', 'usage', amounts_json(usage),
        'estimated', (outcome->>'estimated')::boolean, 'overrun', CASE WHEN beyond <> nothing THEN amounts_json(beyond) END,
        'left', left_over, 'receipt', receipt));
    IF before.id IS NOT NULL THEN
        PERFORM account_pressure(run_id, before, account);
    END IF;
    RETURN json_build_object('receipt', receipt, 'left', left_over);
END $$;

CREATE FUNCTION gate_left(account_id text) RETURNS json LANGUAGE sql STABLE SECURITY INVOKER AS $$
    SELECT amounts_json(account_left(budget_accounts)) FROM budget_accounts WHERE id = account_id
$$;
-- The end of a run: its account goes back to its parent, its row is final, its chain gets the last receipt.

CREATE FUNCTION run_close(closing jsonb, output_text json) RETURNS json LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    run_id text := closing->>'run';
    ending runs;
    account budget_accounts;
    spent amounts := amounts_none();
    receipt json;
BEGIN
    PERFORM set_config('somagent.tenant', closing->>'tenant', true);
    SELECT * INTO ending FROM runs WHERE id = run_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'SO404', DETAIL = json_build_object('run', run_id),
            MESSAGE = format('There is no run %L to close.', run_id);
    END IF;
    SELECT * INTO account FROM budget_accounts WHERE id = 'run:' || run_id;
    IF FOUND THEN
        PERFORM clock_end(account.id, (closing->>'seconds')::bigint);
        PERFORM account_close(account.id);
        SELECT * INTO account FROM budget_accounts WHERE id = account.id;
        spent := (account.spent_tokens, account.spent_micro_usd, account.spent_tool_calls)::amounts;
    END IF;
    IF ending.closed_at IS NULL THEN
        UPDATE effects SET state = 'charged', finished_at = clock_timestamp(),
            error = 'It never reported: it may have taken effect.'
        WHERE run = run_id AND state = 'started';
        UPDATE approvals SET state = 'expired' WHERE run = run_id AND state = 'pending';
        receipt := receipt_append(run_id, 'outcome', 'run.close', 1,
            (closing->'parts') || jsonb_build_object('spent', canonical_amounts(spent)));
        UPDATE runs SET status = closing->>'status', reason = closing->>'reason', output = output_text,
            artifact = closing->>'artifact', account = account.id,
            step = greatest(step, coalesce((closing->>'step')::integer, 0)), closed_at = clock_timestamp()
        WHERE id = run_id;
        PERFORM event_add('agent.events', 'run.closed', run_id, json_build_object(
            'status', closing->>'status', 'reason', closing->>'reason', 'artifact', closing->>'artifact',
            'spent', amounts_json(spent), 'receipt', receipt));
    END IF;
    SELECT * INTO ending FROM runs WHERE id = run_id;
    RETURN json_build_object('spent', amounts_json(spent), 'receipts', ending.receipt_seq, 'head', ending.receipt_head);
END $$;
-- Every change of what decides over runs leaves an audit entry, by whatever way it was made: the table itself sees to it.

-- Write the entry of one changed row. Arguments: the action, then where in the row subject and actor are, then what else
-- to keep; each a path of names and positions, joined by commas. Who acts is else said by the transaction.
CREATE FUNCTION audit_row() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    changed jsonb := CASE TG_OP WHEN 'DELETE' THEN to_jsonb(old) ELSE to_jsonb(new) END;
    tenant text := coalesce(changed->>'tenant_id', nullif(current_setting('somagent.tenant', true), ''));
    moment timestamptz := clock_timestamp();
    subject text := coalesce(changed #>> string_to_array(TG_ARGV[1], ','), '');
    actor text := coalesce(changed #>> string_to_array(TG_ARGV[2], ','),
                           nullif(current_setting('somagent.actor', true), ''), session_user);
    details jsonb := '{}';
    body text;
BEGIN
    IF tenant IS NULL THEN
        RETURN NULL;  -- an installation's first constitution, before it has a tenant: its own table says who and when
    END IF;
    FOR position IN 3 .. TG_NARGS - 1 LOOP
        details := details || jsonb_build_object(
            regexp_replace(TG_ARGV[position], '^.*,', ''),
            canonical_text(changed #>> string_to_array(TG_ARGV[position], ',')));
    END LOOP;
    body := canonical_object(jsonb_build_object(
        'action', canonical_text(TG_ARGV[0]), 'actor', canonical_text(actor), 'at', canonical_time(moment),
        'details', canonical_object(details), 'subject', canonical_text(subject)));
    INSERT INTO audit_entries (tenant_id, at, actor, action, subject, body, hash)
    VALUES (tenant, moment, actor, TG_ARGV[0], subject, body::json, digest_text(body));
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION audit_row() FROM PUBLIC;

CREATE TRIGGER audited AFTER INSERT ON capsules FOR EACH ROW
EXECUTE FUNCTION audit_row('capsule.published', 'name', 'published_by', 'version', 'digest', 'key_id');

CREATE TRIGGER audited AFTER INSERT OR UPDATE ON principals FOR EACH ROW
EXECUTE FUNCTION audit_row('principal.set', 'subject', '-', 'capabilities');
CREATE TRIGGER audited_key AFTER INSERT ON api_keys FOR EACH ROW
EXECUTE FUNCTION audit_row('key.added', 'subject', '-');
CREATE TRIGGER audited_end AFTER UPDATE ON api_keys FOR EACH ROW
EXECUTE FUNCTION audit_row('key.revoked', 'subject', '-', 'revoked_at');

CREATE TRIGGER audited_answer AFTER UPDATE ON approvals FOR EACH ROW
WHEN (old.answers IS DISTINCT FROM new.answers)
EXECUTE FUNCTION audit_row('approval.answered', 'id', 'answers,-1,by', 'run', 'action', 'kind', 'target', 'state',
                           'answers,-1,said', 'answers,-1,on_behalf_of', 'answers,-1,comment');
CREATE TRIGGER audited_escalation AFTER UPDATE ON approvals FOR EACH ROW
WHEN (old.escalated IS DISTINCT FROM new.escalated)
EXECUTE FUNCTION audit_row('approval.escalated', 'id', '-', 'run', 'escalated');

CREATE TRIGGER audited AFTER INSERT ON standing_grants FOR EACH ROW
EXECUTE FUNCTION audit_row('grant.given', 'id', 'granted_by', 'scope', 'capability', 'reason', 'constitution', 'uses',
                           'expires_at');
CREATE TRIGGER audited_end AFTER UPDATE ON standing_grants FOR EACH ROW
WHEN (old.revoked_at IS DISTINCT FROM new.revoked_at)
EXECUTE FUNCTION audit_row('grant.revoked', 'id', 'revoked_by', 'revoked_at');

CREATE TRIGGER audited_proof AFTER UPDATE ON standing_grants FOR EACH ROW
WHEN (old.constitution IS DISTINCT FROM new.constitution)
EXECUTE FUNCTION audit_row('grant.proved', 'id', '-', 'constitution');

CREATE TRIGGER audited AFTER INSERT ON delegations FOR EACH ROW
EXECUTE FUNCTION audit_row('delegation.given', 'id', 'delegator', 'delegate', 'capability', 'reason', 'starts_at',
                           'ends_at');
CREATE TRIGGER audited_end AFTER UPDATE ON delegations FOR EACH ROW
WHEN (old.revoked_at IS DISTINCT FROM new.revoked_at)
EXECUTE FUNCTION audit_row('delegation.revoked', 'id', 'revoked_by', 'revoked_at');

CREATE TRIGGER audited AFTER INSERT ON ledger_entries FOR EACH ROW WHEN (new.kind = 'open')
EXECUTE FUNCTION audit_row('budget.opened', 'account', 'by', 'limit_tokens', 'limit_micro_usd', 'limit_tool_calls');
CREATE TRIGGER audited_raise AFTER INSERT ON ledger_entries FOR EACH ROW WHEN (new.kind = 'raise')
EXECUTE FUNCTION audit_row('budget.raised', 'account', 'by', 'key', 'limit_tokens', 'limit_micro_usd',
                           'limit_tool_calls');

CREATE TRIGGER audited_terms AFTER UPDATE ON budget_accounts FOR EACH ROW
WHEN ((old.period, old.allowance_tokens, old.allowance_micro_usd, old.allowance_tool_calls, old.limit_seconds,
       old.rate_tokens, old.rate_calls) IS DISTINCT FROM (new.period, new.allowance_tokens, new.allowance_micro_usd,
       new.allowance_tool_calls, new.limit_seconds, new.rate_tokens, new.rate_calls)
      AND new.id NOT LIKE 'run:%')
EXECUTE FUNCTION audit_row('budget.allowed', 'id', '-', 'period', 'allowance_tokens', 'allowance_micro_usd',
                           'allowance_tool_calls', 'limit_seconds', 'rate_tokens', 'rate_calls');
CREATE TRIGGER audited_end AFTER UPDATE ON budget_accounts FOR EACH ROW
WHEN (old.closed_at IS DISTINCT FROM new.closed_at AND new.id LIKE 'project:%')
EXECUTE FUNCTION audit_row('budget.closed', 'id', '-', 'spent_tokens', 'spent_micro_usd', 'spent_tool_calls');
CREATE TRIGGER audited_credit AFTER INSERT ON ledger_entries FOR EACH ROW WHEN (new.kind = 'credit')
EXECUTE FUNCTION audit_row('budget.credited', 'account', 'by', 'key', 'limit_tokens', 'limit_micro_usd',
                           'limit_tool_calls');
CREATE TRIGGER audited_period AFTER INSERT ON ledger_entries FOR EACH ROW WHEN (new.kind = 'period')
EXECUTE FUNCTION audit_row('budget.period', 'account', 'by', 'key', 'limit_tokens', 'limit_micro_usd',
                           'limit_tool_calls');

CREATE TRIGGER audited AFTER INSERT ON constitution_proposals FOR EACH ROW
EXECUTE FUNCTION audit_row('constitution.proposed', 'id', 'proposed_by', 'digest', 'scope', 'stage', 'reason', 'change');
CREATE TRIGGER audited_yes AFTER UPDATE ON constitution_proposals FOR EACH ROW
WHEN (old.approved_by IS DISTINCT FROM new.approved_by)
EXECUTE FUNCTION audit_row('constitution.approved', 'id', 'approved_by,-1', 'digest', 'scope', 'stage');
CREATE TRIGGER audited_no AFTER UPDATE ON constitution_proposals FOR EACH ROW
WHEN (old.rejected_by IS DISTINCT FROM new.rejected_by)
EXECUTE FUNCTION audit_row('constitution.rejected', 'id', 'rejected_by', 'digest', 'scope', 'stage');
CREATE TRIGGER audited AFTER INSERT ON constitution_activations FOR EACH ROW
EXECUTE FUNCTION audit_row('constitution.activated', 'scope', 'by', 'digest', 'stage', 'reason', 'proposal');
CREATE TRIGGER audited AFTER INSERT ON constitution_signatures FOR EACH ROW
EXECUTE FUNCTION audit_row('constitution.signed', 'digest', 'key_id');
CREATE TRIGGER audited_end AFTER UPDATE ON constitutions FOR EACH ROW
WHEN (old.state IS DISTINCT FROM new.state)
EXECUTE FUNCTION audit_row('constitution.changed', 'digest', '-', 'name', 'version', 'state');
-- Content that has been kept long enough is deleted: what went into runs, what came out, what they remembered. Receipts, the
-- ledger, decisions, approvals and the audit stay: they hold digests of it. What is under a legal hold is never deleted.

GRANT SELECT, INSERT, UPDATE ON retention TO somagent_app;
GRANT SELECT, INSERT ON legal_holds TO somagent_app;
GRANT UPDATE (lifted_by, lifted_at) ON legal_holds TO somagent_app;
GRANT UPDATE (last_put_at) ON content_blobs TO somagent_app;

-- A hold is lifted once and otherwise stays as it was placed.
CREATE FUNCTION keep_hold() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF old.lifted_at IS NOT NULL
       OR to_jsonb(new) - '{lifted_at,lifted_by}'::text[] <> to_jsonb(old) - '{lifted_at,lifted_by}'::text[] THEN
        RAISE EXCEPTION USING ERRCODE = 'SO409', MESSAGE = 'A legal hold is never changed, only lifted, once.';
    END IF;
    RETURN new;
END $$;
CREATE TRIGGER kept BEFORE UPDATE ON legal_holds FOR EACH ROW EXECUTE FUNCTION keep_hold();
CREATE TRIGGER immutable BEFORE DELETE ON legal_holds FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON legal_holds EXECUTE FUNCTION refuse_change();

CREATE FUNCTION run_held(run runs) RETURNS boolean LANGUAGE sql STABLE SECURITY INVOKER AS $$
    SELECT EXISTS (
        SELECT FROM legal_holds WHERE lifted_at IS NULL AND (
            scope = 'tenant' OR scope = 'capsule:' || split_part(run.capsule, '@', 1)
            OR run.id = substr(scope, 5) OR starts_with(run.id, substr(scope, 5) || '/')))
$$;

-- Runs whose content is due. A child waits for its parent's end.
CREATE FUNCTION retention_runs() RETURNS SETOF runs LANGUAGE sql STABLE SECURITY INVOKER AS $$
    SELECT run.* FROM runs AS run CROSS JOIN retention AS terms
    WHERE run.pruned_at IS NULL AND run.closed_at < clock_timestamp() - make_interval(days => terms.content_days)
      AND NOT run_held(run)
      AND NOT EXISTS (SELECT FROM runs AS above WHERE above.id = run.parent AND above.closed_at IS NULL)
    ORDER BY run.closed_at
$$;

-- Blobs that no run can need: old enough, and no run whose content is still kept was under way while they were put.
-- A blob does not say whose it is, since equal bytes are one blob; so its time tells.
-- `gone` are runs to be thought pruned.
CREATE FUNCTION retention_blobs(gone text[] DEFAULT '{}') RETURNS TABLE (digest text) LANGUAGE sql STABLE SECURITY INVOKER AS $$
    SELECT blob.digest FROM content_blobs AS blob CROSS JOIN retention AS terms
    WHERE blob.last_put_at < clock_timestamp() - make_interval(days => terms.content_days)
      AND NOT EXISTS (
        SELECT FROM runs WHERE pruned_at IS NULL AND id <> ALL (gone) AND created_at <= blob.last_put_at
          AND coalesce(closed_at, 'infinity') >= blob.created_at)
$$;

CREATE FUNCTION retention_memories() RETURNS TABLE (id text) LANGUAGE sql STABLE SECURITY INVOKER AS $$
    SELECT memory.id FROM memories AS memory CROSS JOIN retention AS terms
    LEFT JOIN runs AS whose ON whose.tenant_id = memory.tenant_id AND whose.id = memory.run
    WHERE memory.created_at < clock_timestamp() - make_interval(days => terms.memory_days)
      AND NOT CASE WHEN whose.id IS NULL THEN EXISTS (SELECT FROM legal_holds WHERE lifted_at IS NULL)
                   ELSE run_held(whose) END
$$;

-- What would be deleted now.
CREATE FUNCTION retention_due() RETURNS json LANGUAGE sql STABLE SECURITY INVOKER AS $$
    WITH due AS (SELECT coalesce(array_agg(id), '{}') AS runs FROM retention_runs())
    SELECT json_build_object('runs', (SELECT cardinality(runs) FROM due),
                             'blobs', (SELECT count(*) FROM retention_blobs((SELECT runs FROM due))),
                             'memories', (SELECT count(*) FROM retention_memories()))
$$;

-- Delete what is due of one tenant, at most so much of each; say how much it was. With the owner's right: the application
-- itself deletes nothing. Ask again until it says nothing.
CREATE FUNCTION retention_prune(tenant text, most integer) RETURNS json
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    due text[];
    gone_blobs bigint;
    gone_memories bigint;
BEGIN
    PERFORM set_config('somagent.tenant', tenant, true);
    PERFORM set_config('somagent.actor', 'retention', true);
    -- A hold that is being placed is waited for, and one placed from now on waits for this.
    LOCK TABLE legal_holds IN SHARE MODE;
    SELECT array_agg(id) INTO due FROM (SELECT id FROM retention_runs() LIMIT most) AS first;
    UPDATE runs SET inputs = '{}', output = NULL, pruned_at = clock_timestamp() WHERE id = ANY(due);
    UPDATE effects SET result = NULL, error = '' WHERE run = ANY(due);
    DELETE FROM outbox WHERE run = ANY(due) AND published_at IS NOT NULL;
    DELETE FROM content_blobs WHERE digest IN (SELECT digest FROM retention_blobs() LIMIT most);
    GET DIAGNOSTICS gone_blobs = ROW_COUNT;
    DELETE FROM memories WHERE id IN (SELECT id FROM retention_memories() LIMIT most);
    GET DIAGNOSTICS gone_memories = ROW_COUNT;
    RETURN json_build_object('runs', coalesce(cardinality(due), 0), 'blobs', gone_blobs, 'memories', gone_memories);
END $$;
REVOKE ALL ON FUNCTION retention_prune(text, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION retention_prune(text, integer) TO somagent_relay;

CREATE TRIGGER audited AFTER INSERT OR UPDATE ON retention FOR EACH ROW
EXECUTE FUNCTION audit_row('retention.set', 'tenant_id', 'set_by', 'content_days', 'memory_days');
CREATE TRIGGER audited AFTER INSERT ON legal_holds FOR EACH ROW
EXECUTE FUNCTION audit_row('hold.placed', 'id', 'placed_by', 'scope', 'reason');
CREATE TRIGGER audited_end AFTER UPDATE ON legal_holds FOR EACH ROW
EXECUTE FUNCTION audit_row('hold.lifted', 'id', 'lifted_by', 'scope', 'lifted_at');
CREATE TRIGGER audited_pruning AFTER UPDATE ON runs FOR EACH ROW
WHEN (old.pruned_at IS NULL AND new.pruned_at IS NOT NULL)
EXECUTE FUNCTION audit_row('retention.pruned', 'id', '-', 'closed_at');
CREATE TRIGGER audited_forgetting AFTER DELETE ON memories FOR EACH ROW
EXECUTE FUNCTION audit_row('memory.forgotten', 'id', '-', 'run', 'space');
-- What the planner is to suppose before it has seen the tables: that all rows are one tenant's. Without that, a look-up by
-- key and a reading of all that a tenant has would cost the same in its eyes, and what it chose would stay for the life of
-- a connection. The first ANALYZE, autovacuum's mostly, replaces this by what is there.
DO $$
DECLARE
    name text;
BEGIN
    FOR name IN
        SELECT relation.relname FROM pg_class AS relation
        JOIN pg_attribute AS attribute ON attribute.attrelid = relation.oid AND attribute.attname = 'tenant_id'
        WHERE relation.relnamespace = current_schema()::regnamespace AND relation.relkind = 'r'
    LOOP
        PERFORM pg_restore_attribute_stats(
            'schemaname', current_schema()::text, 'relname', name, 'attname', 'tenant_id', 'inherited', false,
            'null_frac', 0::real, 'avg_width', 16, 'n_distinct', 1::real);
    END LOOP;
END $$;
