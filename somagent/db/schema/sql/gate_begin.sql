-- Begin an effect: all checks, the reservation and the receipt, in one transaction and one round trip.

-- The facts for the evaluation of an action.
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
        'raises', (SELECT json_agg(json_build_object(
                       'key', key, 'by', by, 'amounts', amounts_json((limit_tokens, limit_micro_usd, limit_tool_calls)),
                       'attestations', attestations_of(key)))
                   FROM ledger_entries AS raised
                   WHERE raised.account = account_id AND raised.kind = 'raise' AND NOT EXISTS (
                       SELECT FROM legacy_decisions
                       WHERE scope = tenant AND legacy_decisions.kind = 'raise' AND legacy_decisions.id = raised.id::text)),
        'constitution', constitution_standing(constitution));
END $$;

CREATE FUNCTION constitution_standing(wanted text) RETURNS text LANGUAGE sql STABLE SECURITY INVOKER AS $$
    SELECT coalesce(
        (SELECT CASE state WHEN 'revoked' THEN 'revoked' ELSE 'valid' END FROM constitutions WHERE digest = wanted),
        'unknown')
$$;

-- Lock the run's row. Inserts the run if it is new here: a schedule starts runs without the API.
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

-- Write a decision: the receipt and its event. answers: the members that the database adds, as canonical text.
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

-- The approvals that may allow this action: an approved one in time, or the one that an earlier attempt of this effect
-- used. After an attempt that may have taken effect, only a new approval counts.
CREATE FUNCTION gate_grants(entry jsonb, uncertain boolean) RETURNS SETOF approvals
LANGUAGE sql STABLE SECURITY INVOKER AS $$
    SELECT asked.* FROM approvals AS asked LEFT JOIN approval_uses AS used ON used.approval = asked.id
    WHERE asked.run = entry->>'run' AND asked.action = entry->>'action_digest'
      AND CASE WHEN used.effect IS NULL THEN asked.state = 'approved' AND asked.expires_at > clock_timestamp()
               ELSE used.effect = entry->>'effect' AND NOT uncertain END
    ORDER BY used.effect IS NULL, asked.requested_at, asked.id
$$;

-- The approval that allows this action: the one whose attestations the worker verified. Its answers are those that the
-- attestations give, not those of the row.
CREATE FUNCTION gate_grant(entry jsonb, uncertain boolean) RETURNS approvals
LANGUAGE sql SECURITY INVOKER AS $$
    SELECT * FROM gate_grants(entry, uncertain)
    WHERE id = entry #>> '{proved,approval}' AND approval_satisfied(entry->'demands', entry #> '{proved,answers}')
$$;

-- What the worker must verify before an approval or a standing grant counts: each one that may allow this action, with
-- its attestations. NULL when there is none.
CREATE FUNCTION gate_proofs(entry jsonb, uncertain boolean) RETURNS json
LANGUAGE sql STABLE SECURITY INVOKER AS $$
    SELECT json_build_object('approvals', coalesce(asked.proofs, '[]'), 'grants', coalesce(given.proofs, '[]'))
    FROM (SELECT json_agg(json_build_object(
              'id', id, 'edited_from', edited_from,
              'used_at', (SELECT used_at FROM approval_uses WHERE approval = asked.id),
              'attestations', attestations_of(id, edited_from))) AS proofs
          FROM gate_grants(entry, uncertain) AS asked) AS asked,
         (SELECT json_agg(json_build_object('row', json_build_object(
              'id', id, 'scope', scope, 'capability', capability, 'reason', reason, 'constitution', constitution,
              'granted_by', granted_by, 'uses', uses, 'expires_at', expires_at),
              'attestations', attestations_of(id))) AS proofs
          FROM standing_grants
          WHERE NOT uncertain
            AND (entry->'standing' ? id
                 OR id IN (SELECT standing FROM standing_uses
                           WHERE effect = entry->>'effect' AND action = entry->>'action_digest'))) AS given
    WHERE asked.proofs IS NOT NULL OR given.proofs IS NOT NULL
$$;

-- Find or open the pending approval, write the decision, and return the status `ask`.
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

-- Begin an effect, or return why it may not begin. The order of the checks is the specification.
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
    done_before boolean := false;
    grant_used approvals;
    given_before standing_grants;
    proofs json;
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
        IF NOT entry ? 'proved' THEN
            proofs := gate_proofs(entry, uncertain);
            IF proofs IS NOT NULL THEN
                RETURN json_build_object('status', 'proof', 'proofs', proofs);
            END IF;
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
            'approvers', approval_approvers(entry #> '{proved,answers}'),
            'attestations', approval_attestations(entry #> '{proved,answers}'));
        IF given_before.id IS NOT NULL THEN
            answers := jsonb_build_object('standing_grant', canonical_text(given_before.id),
                                          'approved_by', canonical_text(given_before.granted_by),
                                          'attestation', canonical_text(given_before.attestation));
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
        PERFORM approval_use(grant_used.id, effect_key);
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
