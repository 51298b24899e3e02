-- The ledger and admitted runs are sealed, signs are constrained by kind, and the application's role writes by
-- functions only.

ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
DO $$
DECLARE
    known regprocedure;
BEGIN
    FOR known IN SELECT oid FROM pg_proc WHERE pronamespace = current_schema()::regnamespace
                 AND proowner = (SELECT oid FROM pg_roles WHERE rolname = current_user) LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', known);
    END LOOP;
END $$;
REVOKE INSERT, UPDATE ON runs, receipts, effects, budget_accounts, ledger_entries, standing_uses, outbox, audit_entries
    FROM somagent_app;
REVOKE USAGE ON SEQUENCE outbox_id_seq, ledger_entries_id_seq, audit_entries_id_seq FROM somagent_app;

ALTER TABLE runs ADD CONSTRAINT runs_ended
    CHECK ((closed_at IS NOT NULL) = (status IN ('completed', 'failed', 'cancelled')));
ALTER TABLE ledger_entries
    ADD CONSTRAINT ledger_entries_limit CHECK (CASE
        WHEN kind IN ('open', 'raise', 'credit') THEN least(limit_tokens, limit_micro_usd, limit_tool_calls) >= 0
        WHEN kind IN ('allow', 'period') THEN true
        ELSE limit_tokens = 0 AND limit_micro_usd = 0 AND limit_tool_calls = 0 END),
    ADD CONSTRAINT ledger_entries_spent CHECK (CASE
        WHEN kind IN ('charge', 'return') THEN least(spent_tokens, spent_micro_usd, spent_tool_calls) >= 0
        WHEN kind = 'period' THEN greatest(spent_tokens, spent_micro_usd, spent_tool_calls) <= 0
        WHEN kind = 'settle' THEN true -- below zero only for what was charged: `keep_ledger`
        ELSE spent_tokens = 0 AND spent_micro_usd = 0 AND spent_tool_calls = 0 END),
    ADD CONSTRAINT ledger_entries_reserved CHECK (CASE
        WHEN kind = 'reserve' THEN least(reserved_tokens, reserved_micro_usd, reserved_tool_calls) >= 0
        WHEN kind IN ('settle', 'return') THEN greatest(reserved_tokens, reserved_micro_usd, reserved_tool_calls) <= 0
        WHEN kind = 'charge' THEN (reserved_tokens, reserved_micro_usd, reserved_tool_calls)
                                  = (-spent_tokens, -spent_micro_usd, -spent_tool_calls)
        WHEN kind = 'carve' THEN true
        ELSE reserved_tokens = 0 AND reserved_micro_usd = 0 AND reserved_tool_calls = 0 END),
    ADD CONSTRAINT ledger_entries_seconds CHECK (CASE
        WHEN kind = 'clock' THEN spent_seconds = 0 AND reserved_seconds >= 0
        WHEN kind = 'clocked' THEN spent_seconds >= 0 AND reserved_seconds <= 0
        WHEN kind = 'period' THEN spent_seconds <= 0 AND reserved_seconds = 0
        ELSE spent_seconds = 0 AND reserved_seconds = 0 END);
DROP INDEX ledger_entries_once;
CREATE UNIQUE INDEX ledger_entries_once ON ledger_entries (tenant_id, account, kind, key)
WHERE kind IN ('open', 'close', 'raise', 'credit', 'period', 'clock', 'clocked');
CREATE INDEX ledger_entries_of_children ON ledger_entries (tenant_id, account, key) WHERE kind IN ('carve', 'return');

ALTER TABLE seal_pending DROP CONSTRAINT seal_pending_pkey, DROP CONSTRAINT seal_pending_kind_check;
DROP INDEX seal_pending_by_tenant;
ALTER TABLE seal_pending ADD PRIMARY KEY (tenant_id, id),
    ADD CONSTRAINT seal_pending_kind_check CHECK (kind IN ('receipt', 'audit', 'ledger', 'run'));
ALTER TABLE seal_leaves DROP CONSTRAINT seal_leaves_kind_check,
    ADD CONSTRAINT seal_leaves_kind_check CHECK (kind IN ('receipt', 'audit', 'ledger', 'run'));

CREATE OR REPLACE FUNCTION seal_receipt() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO seal_pending (tenant_id, kind, subject, number, hash)
    VALUES (new.tenant_id, 'receipt', new.run, new.seq, new.hash);
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION seal_entry() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO seal_pending (tenant_id, kind, subject, number, hash)
    VALUES (new.tenant_id, 'audit', '', new.id, new.hash);
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION seal_take(tenant text, next_height bigint, next_seq bigint, most integer) RETURNS SETOF seal_leaves
LANGUAGE sql SECURITY INVOKER AS $$
    WITH oldest AS (
        SELECT id FROM seal_pending WHERE tenant_id = tenant ORDER BY id LIMIT most
    ), taken AS (
        DELETE FROM seal_pending USING oldest WHERE tenant_id = tenant AND seal_pending.id = oldest.id
        RETURNING seal_pending.*
    ), numbered AS (
        INSERT INTO seal_leaves (tenant_id, seq, kind, subject, number, hash, height)
        SELECT tenant, next_seq - 1 + row_number() OVER (ORDER BY id), kind, subject, number, hash, next_height
        FROM taken
        RETURNING seal_leaves.*
    )
    SELECT * FROM numbered ORDER BY seq
$$;

CREATE OR REPLACE FUNCTION receipt_append(
    run_id text, receipt_kind text, receipt_activity text, receipt_attempt integer, parts jsonb, denied integer DEFAULT 0
) RETURNS json LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    moment timestamptz := clock_timestamp();
    body_text text := canonical_object(parts || jsonb_build_object(
        'activity', canonical_text(receipt_activity), 'at', canonical_time(moment), 'attempt', receipt_attempt::text));
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

CREATE FUNCTION event_publish(event_topic text, event_type text, event_run text, event_data json) RETURNS outbox
LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    published outbox;
BEGIN
    PERFORM FROM runs WHERE id = event_run FOR NO KEY UPDATE;
    INSERT INTO outbox (topic, type, tenant_id, run, data)
    VALUES (event_topic, event_type, current_setting('somagent.tenant'), event_run, event_data)
    RETURNING * INTO published;
    RETURN published;
END $$;

CREATE FUNCTION audit_add(who text, done text, about text, details text) RETURNS void
LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    moment timestamptz := clock_timestamp();
    body text := canonical_object(jsonb_build_object(
        'action', canonical_text(done), 'actor', canonical_text(who), 'at', canonical_time(moment), 'details', details,
        'subject', canonical_text(about)));
BEGIN
    INSERT INTO audit_entries (tenant_id, at, actor, action, subject, body, hash)
    VALUES (current_setting('somagent.tenant'), moment, who, done, about, body::json, digest_text(body));
END $$;

CREATE FUNCTION approval_edited(approval_id text, parts jsonb) RETURNS void LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    edited approvals;
BEGIN
    SELECT * INTO edited FROM approvals WHERE id = approval_id AND state = 'edited';
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'SO409', DETAIL = json_build_object('approval', approval_id),
            MESSAGE = format('Approval %L was not edited.', approval_id);
    END IF;
    PERFORM receipt_append(edited.run, 'outcome', 'approval.edit', 1, parts || jsonb_build_object(
        'action_digest', canonical_text(edited.action), 'approval', canonical_text(edited.id),
        'edited_by', canonical_text(edited.decided_by), 'edited_to', canonical_text(edited.edited_to)));
END $$;

CREATE FUNCTION period_begin(account_id text) RETURNS void LANGUAGE plpgsql SECURITY INVOKER AS $$
BEGIN
    PERFORM period_open(account_id);
END $$;

-- Entries of the ledger are sealed: their canonical JSON is made of their columns, so no column can differ from what was
-- sealed. Triggers refuse the entries whose sums cannot be right, also from the owner.

-- The canonical JSON of an entry.
CREATE FUNCTION ledger_body(entry ledger_entries) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT format(
        '{"account":%s,"at":%s,"by":%s,"id":%s,"key":%s,"kind":"%s","limit":%s,"reserved":%s,"reserved_seconds":%s,'
        '"spent":%s,"spent_seconds":%s}',
        canonical_text(entry.account), canonical_time(entry.at), canonical_text(entry.by), entry.id,
        canonical_text(entry.key), entry.kind,
        canonical_amounts((entry.limit_tokens, entry.limit_micro_usd, entry.limit_tool_calls)::amounts),
        canonical_amounts((entry.reserved_tokens, entry.reserved_micro_usd, entry.reserved_tool_calls)::amounts),
        entry.reserved_seconds,
        canonical_amounts((entry.spent_tokens, entry.spent_micro_usd, entry.spent_tool_calls)::amounts),
        entry.spent_seconds)
$$;

-- The columns of an entry in the order of `capsules.audit.ledger_entry.Entry`, which makes the same canonical JSON of them.
CREATE FUNCTION ledger_columns(entry ledger_entries) RETURNS json LANGUAGE sql STABLE AS $$
    SELECT json_build_array(
        entry.account, canonical_time(entry.at)::json, entry.by, entry.id, entry.key, entry.kind,
        json_build_array(entry.limit_micro_usd, entry.limit_tokens, entry.limit_tool_calls),
        json_build_array(entry.reserved_micro_usd, entry.reserved_tokens, entry.reserved_tool_calls),
        entry.reserved_seconds,
        json_build_array(entry.spent_micro_usd, entry.spent_tokens, entry.spent_tool_calls), entry.spent_seconds)
$$;

CREATE FUNCTION seal_ledger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO seal_pending (tenant_id, kind, subject, number, hash)
    VALUES (new.tenant_id, 'ledger', new.account, new.id, digest_text(ledger_body(new)));
    RETURN NULL;
END $$;
CREATE TRIGGER queued AFTER INSERT ON ledger_entries FOR EACH ROW EXECUTE FUNCTION seal_ledger();

-- Less than nothing can be settled only for an effect whose reservation was charged, and not more than that.
CREATE FUNCTION keep_ledger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT least(sum(spent_tokens) + new.spent_tokens, sum(spent_micro_usd) + new.spent_micro_usd,
                     sum(spent_tool_calls) + new.spent_tool_calls) >= 0
        FROM ledger_entries
        WHERE tenant_id = new.tenant_id AND account = new.account AND key = new.key
          AND kind IN ('settle', 'charge')) IS NOT TRUE THEN
        RAISE EXCEPTION USING ERRCODE = 'SO409', DETAIL = json_build_object('account', new.account),
            MESSAGE = format('Account %L was never charged what %L would give back.', new.account, new.key);
    END IF;
    RETURN new;
END $$;
CREATE TRIGGER kept BEFORE INSERT ON ledger_entries FOR EACH ROW
WHEN (new.kind = 'settle' AND least(new.spent_tokens, new.spent_micro_usd, new.spent_tool_calls) < 0)
EXECUTE FUNCTION keep_ledger();

-- At the end of a transaction the limit of an account under another is the sum of its entries, and what the entries of
-- its parent hold for it; nothing once it is closed. An entry names the account by its id, or by its id and a month.
CREATE FUNCTION keep_carved() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    child budget_accounts;
    given amounts;
    held amounts;
BEGIN
    PERFORM set_config('somagent.tenant', new.tenant_id, true);
    SELECT * INTO child FROM budget_accounts
    WHERE id = CASE WHEN new.kind IN ('carve', 'return') THEN regexp_replace(new.key, ' [0-9]{4}-[0-9]{2}-[0-9]{2}$', '')
                    ELSE new.account END;
    IF new.kind NOT IN ('carve', 'return') AND child.parent IS NULL THEN
        RETURN NULL;
    END IF;
    SELECT coalesce(sum(limit_tokens), 0), coalesce(sum(limit_micro_usd), 0), coalesce(sum(limit_tool_calls), 0) INTO given
    FROM ledger_entries WHERE account = child.id AND kind IN ('open', 'raise', 'allow', 'period');
    SELECT coalesce(sum(reserved_tokens), 0), coalesce(sum(reserved_micro_usd), 0), coalesce(sum(reserved_tool_calls), 0)
    INTO held
    FROM ledger_entries
    WHERE account = child.parent AND kind IN ('carve', 'return') AND key = child.id;
    IF child.id LIKE 'project:%' THEN
        -- Apart, so that the query above reads by the index: a tenant has few projects and many runs.
        SELECT (held).tokens + coalesce(sum(reserved_tokens), 0), (held).micro_usd + coalesce(sum(reserved_micro_usd), 0),
               (held).tool_calls + coalesce(sum(reserved_tool_calls), 0) INTO held
        FROM ledger_entries
        WHERE account = child.parent AND kind IN ('carve', 'return') AND starts_with(key, child.id || ' ');
    END IF;
    IF child.id IS NULL OR (new.kind IN ('carve', 'return') AND child.parent IS DISTINCT FROM new.account)
       OR given <> account_limit(child)
       OR held <> (CASE WHEN child.closed_at IS NULL THEN given ELSE amounts_none() END) THEN
        RAISE EXCEPTION USING ERRCODE = 'SO409', DETAIL = json_build_object('account', new.account),
            MESSAGE = format('The entry %L of %L is refused: the limit of an account is what its parent holds for it.',
                             new.kind, new.account);
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER carved AFTER INSERT ON ledger_entries DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
WHEN (new.kind IN ('carve', 'return')
      OR (new.limit_tokens, new.limit_micro_usd, new.limit_tool_calls) <> (0, 0, 0))
EXECUTE FUNCTION keep_carved();

-- The row of a run: entered by the API or by an application, admitted, and following its workflow. `gate_begin.sql` enters
-- the runs of schedules, `run_close.sql` ends a run.

CREATE FUNCTION run_lock(run_id text) RETURNS void LANGUAGE plpgsql SECURITY INVOKER AS $$
BEGIN
    PERFORM FROM runs WHERE id = run_id FOR NO KEY UPDATE;
END $$;

-- Enter a run that the API accepted, and return whether it is new. Raises SO409 for another request under the same id.
CREATE FUNCTION run_accept(entry jsonb, given_inputs json) RETURNS boolean LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    run_id text := entry->>'id';
    known text;
BEGIN
    INSERT INTO runs (tenant_id, id, capsule, digest, actor, parent, status, inputs, request)
    VALUES (current_setting('somagent.tenant'), run_id, entry->>'capsule', entry->>'digest', entry->>'actor',
            entry->>'parent', 'starting', given_inputs, entry->>'request')
    ON CONFLICT DO NOTHING;
    IF FOUND THEN
        PERFORM event_add('agent.events', 'run.started', run_id, json_build_object(
            'capsule', entry->>'capsule', 'actor', entry->>'actor', 'parent', entry->>'parent'));
        RETURN true;
    END IF;
    SELECT request INTO known FROM runs WHERE id = run_id FOR NO KEY UPDATE;
    IF known IS NULL THEN -- the gate entered the run first
        UPDATE runs SET request = entry->>'request', inputs = given_inputs, digest = coalesce(digest, entry->>'digest')
        WHERE id = run_id;
    ELSIF known <> entry->>'request' THEN
        RAISE EXCEPTION USING ERRCODE = 'SO409', DETAIL = json_build_object('run', run_id),
            MESSAGE = format('Run %L was started with another request. Use another idempotency key.', run_id);
    END IF;
    RETURN false;
END $$;

-- Enter a run of a governed application with its pinned terms, and return whether it is new.
CREATE FUNCTION run_enrol(entry jsonb, given_inputs json, pinned json) RETURNS boolean
LANGUAGE plpgsql SECURITY INVOKER AS $$
BEGIN
    INSERT INTO runs (tenant_id, id, capsule, actor, parent, status, inputs, account, lock)
    VALUES (current_setting('somagent.tenant'), entry->>'id', entry->>'capsule', entry->>'actor', entry->>'parent',
            'running', given_inputs, entry->>'account', pinned)
    ON CONFLICT DO NOTHING;
    IF FOUND THEN
        PERFORM event_add('agent.events', 'run.started', entry->>'id', json_build_object(
            'capsule', entry->>'capsule', 'actor', entry->>'actor'));
        RETURN true;
    END IF;
    RETURN false;
END $$;

-- Write the lock and the account of a run once, and return the lock that counts, the first. Raises SO404.
CREATE FUNCTION run_admit(run_id text, of_digest text, of_parent text, of_account text, pinned json) RETURNS json
LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    found_run runs;
BEGIN
    SELECT * INTO found_run FROM runs WHERE id = run_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'SO404', DETAIL = json_build_object('run', run_id),
            MESSAGE = format('There is no run %L to admit.', run_id);
    END IF;
    IF found_run.lock IS NOT NULL THEN
        RETURN found_run.lock;
    END IF;
    UPDATE runs SET digest = of_digest, parent = of_parent, account = of_account, lock = pinned WHERE id = run_id;
    RETURN pinned;
END $$;

-- Write the state of a workflow, and return whether the run was open. Only `run_close` ends a run.
CREATE FUNCTION run_record(run_id text, new_status text, why text, at_step integer) RETURNS boolean
LANGUAGE plpgsql SECURITY INVOKER AS $$
BEGIN
    IF new_status IN ('completed', 'failed', 'cancelled') THEN
        RAISE EXCEPTION USING ERRCODE = 'SO409', DETAIL = json_build_object('run', run_id),
            MESSAGE = format('Run %L cannot be recorded as %s: only run_close ends a run.', run_id, new_status);
    END IF;
    UPDATE runs SET status = new_status, reason = why, step = at_step, updated_at = now()
    WHERE id = run_id AND closed_at IS NULL;
    RETURN FOUND;
END $$;

-- Refuse a change of what a run is, once it is admitted, and any change of a run that has ended, except the deletion of
-- its content.
CREATE FUNCTION keep_run() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF old.closed_at IS NOT NULL THEN
        IF (new.status, new.reason, new.artifact, new.closed_at, new.account, new.request)
           IS DISTINCT FROM (old.status, old.reason, old.artifact, old.closed_at, old.account, old.request)
           OR (new.pruned_at IS NULL AND (new.output::text, new.inputs::text)
               IS DISTINCT FROM (old.output::text, old.inputs::text)) THEN
            RAISE EXCEPTION USING ERRCODE = 'SO409', DETAIL = json_build_object('run', old.id),
                MESSAGE = format('Run %L has ended (%s); its row is final.', old.id, old.status);
        END IF;
    END IF;
    IF (new.capsule, new.actor) IS DISTINCT FROM (old.capsule, old.actor)
       OR (old.lock IS NOT NULL AND (new.digest, new.parent, new.lock::text)
           IS DISTINCT FROM (old.digest, old.parent, old.lock::text)) THEN
        RAISE EXCEPTION USING ERRCODE = 'SO409', DETAIL = json_build_object('run', old.id),
            MESSAGE = format('Run %L was admitted; what it is, and for whom, does not change.', old.id);
    END IF;
    RETURN new;
END $$;
CREATE TRIGGER kept BEFORE UPDATE OF capsule, digest, actor, parent, status, reason, inputs, request, output, artifact,
    lock, account, closed_at, pruned_at ON runs FOR EACH ROW EXECUTE FUNCTION keep_run();
CREATE TRIGGER immutable BEFORE DELETE ON runs FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON runs EXECUTE FUNCTION refuse_change();

-- What a run is, as canonical JSON. It is sealed when the run is admitted.
CREATE FUNCTION run_body(run runs) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT format('{"actor":%s,"capsule":%s,"digest":%s,"id":%s,"lock":%s,"parent":%s}',
                  canonical_text(run.actor), canonical_text(run.capsule), canonical_text(run.digest), canonical_text(run.id),
                  canonical_text(digest_text(run.lock::text)), canonical_text(run.parent))
$$;

CREATE FUNCTION seal_run() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO seal_pending (tenant_id, kind, subject, number, hash)
    VALUES (new.tenant_id, 'run', new.id, 1, digest_text(run_body(new)));
    RETURN NULL;
END $$;
CREATE TRIGGER queued AFTER INSERT ON runs FOR EACH ROW WHEN (new.lock IS NOT NULL) EXECUTE FUNCTION seal_run();
CREATE TRIGGER queued_admission AFTER UPDATE OF lock ON runs FOR EACH ROW
WHEN (old.lock IS NULL AND new.lock IS NOT NULL) EXECUTE FUNCTION seal_run();

-- What the application's role may call. Whatever it changes, it changes by these functions. They run with the owner's
-- rights and a fixed search path, and row-level security limits them to the tenant of the setting somagent.tenant.
DO $$
DECLARE
    entry regprocedure;
BEGIN
    FOREACH entry IN ARRAY ARRAY[
        'gate_facts(text,text,text,text,jsonb)', 'gate_begin(jsonb)', 'gate_finish(jsonb,json)',
        'run_lock(text)', 'run_accept(jsonb,json)', 'run_enrol(jsonb,json,json)', 'run_admit(text,text,text,text,json)',
        'run_record(text,text,text,integer)', 'run_close(jsonb,json)',
        'account_open(text,jsonb)', 'account_carve(text,text,jsonb)', 'run_carve(text,text,jsonb,bigint)',
        'account_close(text)', 'account_raise(text,jsonb,text,text)', 'account_allow(text,text,jsonb,text)',
        'account_give_credit(text,jsonb,text,text)', 'account_retire(text)', 'account_conservation()', 'period_begin(text)',
        'event_publish(text,text,text,json)', 'audit_add(text,text,text,text)', 'approval_edited(text,jsonb)',
        'retention_due()'
    ]::regprocedure[] LOOP
        EXECUTE format('ALTER FUNCTION %s SECURITY DEFINER SET search_path = public, pg_temp', entry);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO somagent_app', entry);
    END LOOP;
    -- Functions that run with the owner's rights see no object of their caller's.
    FOR entry IN SELECT oid FROM pg_proc WHERE prosecdef AND pronamespace = current_schema()::regnamespace
                 AND proowner = (SELECT oid FROM pg_roles WHERE rolname = current_user) LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = public, pg_temp', entry);
    END LOOP;
END $$;

-- For queries of the audit: pure functions of a row.
GRANT EXECUTE ON FUNCTION ledger_columns(ledger_entries), run_body(runs), canonical_text(text), canonical_amounts(amounts),
    canonical_time(timestamptz), digest_text(text) TO somagent_app;
-- For the constraints of approvals, which the application's role changes.
GRANT EXECUTE ON FUNCTION approval_satisfied(jsonb, jsonb), approval_duties(text, jsonb) TO somagent_app;
GRANT EXECUTE ON FUNCTION constitution_of(text, text) TO somagent_app;
GRANT EXECUTE ON FUNCTION seal_waiting(), seal_take(text, bigint, bigint, integer) TO somagent_sealer;

-- What was recorded before is sealed from now on.
DO $$
DECLARE
    tenant text;
BEGIN
    FOR tenant IN SELECT id FROM tenants ORDER BY id LOOP
        PERFORM set_config('somagent.tenant', tenant, true);
        INSERT INTO seal_pending (tenant_id, kind, subject, number, hash)
        SELECT tenant_id, 'ledger', account, id, digest_text(ledger_body(entry)) FROM ledger_entries AS entry ORDER BY id;
        INSERT INTO seal_pending (tenant_id, kind, subject, number, hash)
        SELECT tenant_id, 'run', id, 1, digest_text(run_body(run)) FROM runs AS run WHERE lock IS NOT NULL
        ORDER BY created_at, id;
    END LOOP;
    PERFORM set_config('somagent.tenant', '', true);
END $$;
