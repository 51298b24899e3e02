-- Starts of runs: each run belongs to one first execution in Temporal, for ever; and start authorities that were taken
-- back. Rows are only added, by the two functions, so the application's role cannot give a used or revoked start back.

CREATE TABLE run_starts (
    tenant_id text NOT NULL REFERENCES tenants (id),
    run text NOT NULL,
    -- of the authority; a schedule's is that of all its starts
    nonce text NOT NULL,
    first_execution text NOT NULL,
    claimed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, run)
);

CREATE TABLE revoked_starts (
    tenant_id text NOT NULL REFERENCES tenants (id),
    nonce text NOT NULL,
    reason text NOT NULL,
    revoked_by text NOT NULL,
    revoked_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, nonce)
);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['run_starts', 'revoked_starts'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY one_tenant ON %I USING (tenant_id = current_setting(''somagent.tenant'', true)) '
            'WITH CHECK (tenant_id = current_setting(''somagent.tenant'', true))', name);
        EXECUTE format('CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION refuse_change()', name);
        EXECUTE format('CREATE TRIGGER never_emptied BEFORE TRUNCATE ON %I EXECUTE FUNCTION refuse_change()', name);
    END LOOP;
END $$;
GRANT SELECT ON run_starts, revoked_starts TO somagent_app;

-- Claim the start of a run for its first execution. Returns why it is refused, or NULL: the same execution claims it as
-- often as it likes.
CREATE FUNCTION start_claim(wanted text, with_nonce text, execution text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    known run_starts;
    revoked revoked_starts;
BEGIN
    SELECT * INTO revoked FROM revoked_starts WHERE nonce = with_nonce;
    IF FOUND THEN
        RETURN format('its authority was revoked by %s at %s: %s', revoked.revoked_by,
                      to_char(revoked.revoked_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), revoked.reason);
    END IF;
    INSERT INTO run_starts (tenant_id, run, nonce, first_execution)
    VALUES (current_setting('somagent.tenant', true), wanted, with_nonce, execution) ON CONFLICT DO NOTHING;
    SELECT * INTO STRICT known FROM run_starts WHERE run = wanted;
    IF known.first_execution <> execution THEN
        RETURN format('the run was started before, as execution %s', known.first_execution);
    END IF;
    RETURN NULL;
END $$;

-- Take a start authority back, before or after it was used. Runs that it started before go on.
CREATE FUNCTION start_revoke(wanted text, why text, by text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    INSERT INTO revoked_starts (tenant_id, nonce, reason, revoked_by)
    VALUES (current_setting('somagent.tenant', true), wanted, why, by) ON CONFLICT DO NOTHING
$$;

REVOKE ALL ON FUNCTION start_claim(text, text, text), start_revoke(text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION start_claim(text, text, text), start_revoke(text, text, text) TO somagent_app;

-- Begin an effect, or return why it may not begin. The order of the checks is the specification.
CREATE OR REPLACE FUNCTION gate_begin(entry jsonb) RETURNS json LANGUAGE plpgsql SECURITY INVOKER AS $$
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
    done_before boolean := false;
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
        -- A reset, which needs rights in Temporal only, does the same again in a new execution. An application's
        -- run may be a cron workflow, which rightly does the same in each of its executions.
        done_before := this_run.lock->'application' IS NULL AND EXISTS (
            SELECT FROM effects WHERE run = run_id AND action = entry->>'action_digest' AND state = 'done'
                AND NOT starts_with(key, run_id || '/' || (entry->>'execution') || '/'));
        uncertain := uncertain OR done_before;
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
                    '%s, and %s cannot safely be done twice. Look before you approve it again.',
                    CASE WHEN done_before THEN 'It took effect in an earlier execution of this run'
                         ELSE 'An earlier attempt may have taken effect' END, entry->>'target'));
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
