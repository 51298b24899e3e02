-- Attestations: the signed tokens of people's decisions are recorded, and the gate verifies them before a decision counts.

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


DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['attestations', 'approval_uses'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY one_tenant ON %I USING (tenant_id = current_setting(''somagent.tenant'', true)) '
            'WITH CHECK (tenant_id = current_setting(''somagent.tenant'', true))', name);
    END LOOP;
END $$;

ALTER TABLE standing_grants ADD COLUMN attestation text, ADD COLUMN revocation text;
ALTER TABLE delegations ADD COLUMN attestation text, ADD COLUMN revocation text;
ALTER TABLE constitutions ADD COLUMN revocation text;
ALTER TABLE constitution_activations ADD COLUMN proof jsonb NOT NULL DEFAULT '[]';
ALTER TABLE constitution_proposals ADD COLUMN attestation text, ADD COLUMN vote text;
GRANT UPDATE (attestation, revocation) ON standing_grants TO somagent_app;
GRANT UPDATE (revocation) ON delegations TO somagent_app;

-- The decisions that were made before: used approvals stay used; raises of open accounts and activations count.
DO $$
DECLARE
    name text;
    moment timestamptz;
    body text;
BEGIN
    FOR name IN SELECT id FROM tenants LOOP
        PERFORM set_config('somagent.tenant', name, true);
        INSERT INTO approval_uses (tenant_id, approval, effect, used_at)
        SELECT tenant_id, id, used_by, coalesce(decided_at, requested_at) FROM approvals WHERE used_by IS NOT NULL;
        INSERT INTO legacy_decisions (scope, kind, id)
        SELECT tenant_id, kind, id::text FROM ledger_entries WHERE kind = 'raise';
        -- The sealed entry from which on the verifier demands attestations.
        moment := clock_timestamp();
        body := canonical_object(jsonb_build_object(
            'action', '"attestations.required"', 'actor', '"upgrade"', 'at', canonical_time(moment), 'details', '{}',
            'subject', '"installation"'));
        INSERT INTO audit_entries (tenant_id, at, actor, action, subject, body, hash)
        VALUES (name, moment, 'upgrade', 'attestations.required', 'installation', body::json, digest_text(body));
    END LOOP;
    PERFORM set_config('somagent.tenant', '', true);
    INSERT INTO legacy_decisions (scope, kind, id) SELECT '*', 'activation', id::text FROM constitution_activations;
END $$;

-- The claims of a token, as they were signed. The signature is checked by the processes that use the decision: they hold
-- the issuer's public keys.
CREATE FUNCTION attestation_claims(token text) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT convert_from(decode(rpad(translate(part, '-_', '+/'), (length(part) + 3) / 4 * 4, '='), 'base64'), 'UTF8')::jsonb
    FROM split_part(token, '.', 2) AS part
$$;

-- Record an attestation in the transaction of its decision, and return its digest. The same token again is a retry: it
-- returns the digest and the caller changes nothing. It runs with the owner's rights, so that the columns are what the
-- token says, and the time is the database's own.
CREATE FUNCTION attestation_use(used_token text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    claims jsonb := attestation_claims(used_token);
    body jsonb := claims->'body';
    moment timestamptz := clock_timestamp();
    known attestations;
BEGIN
    IF body->>'tenant' IS DISTINCT FROM current_setting('somagent.tenant', true) THEN
        RAISE EXCEPTION USING ERRCODE = 'SO409', MESSAGE = format(
            'The attestation is of tenant %L, not of this one.', body->>'tenant');
    END IF;
    INSERT INTO attestations (tenant_id, id, purpose, subject, run, record, token, digest, used_at)
    SELECT body->>'tenant', claims->>'jti', body->>'purpose', body->>'subject', body->>'run',
           coalesce(body->>'approval', body->>'record', body->>'run'), used_token, digest_text(used_token), moment
    WHERE to_timestamp((claims->>'exp')::double precision + 2) >= moment
    ON CONFLICT DO NOTHING;
    SELECT * INTO known FROM attestations WHERE id = claims->>'jti';
    IF known.id IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'SO409', MESSAGE = 'The attestation has expired: decide again.';
    END IF;
    IF known.token <> used_token THEN
        RAISE EXCEPTION USING ERRCODE = 'SO409', MESSAGE = format(
            'The attestation %L was used already, for another decision. Decide again.', known.id);
    END IF;
    RETURN known.digest;
END $$;
REVOKE ALL ON FUNCTION attestation_use(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION attestation_use(text) TO somagent_app;
GRANT SELECT ON attestations, approval_uses, legacy_decisions TO somagent_app;

-- Record that an approval lets an effect begin, once for each approval and at the database's own time. Only the gate's
-- function calls it, with the owner's rights.
CREATE FUNCTION approval_use(used_approval text, for_effect text) RETURNS void
LANGUAGE sql SECURITY INVOKER AS $$
    INSERT INTO approval_uses (tenant_id, approval, effect, used_at)
    VALUES (current_setting('somagent.tenant'), used_approval, for_effect, clock_timestamp()) ON CONFLICT DO NOTHING
$$;
REVOKE ALL ON FUNCTION approval_use(text, text) FROM PUBLIC;

-- The attestations about these records, as the process that verifies them needs them.
CREATE FUNCTION attestations_of(VARIADIC records text[]) RETURNS json LANGUAGE sql STABLE AS $$
    SELECT coalesce(json_agg(json_build_object('token', token, 'used_at', used_at) ORDER BY used_at, id), '[]')
    FROM attestations WHERE record = ANY (records)
$$;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['attestations', 'approval_uses', 'legacy_decisions'] LOOP
        EXECUTE format('CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION refuse_change()', name);
        EXECUTE format('CREATE TRIGGER never_emptied BEFORE TRUNCATE ON %I EXECUTE FUNCTION refuse_change()', name);
    END LOOP;
END $$;

-- A delegation can be revoked once; nothing else in it changes.
CREATE OR REPLACE FUNCTION keep_delegation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF old.revoked_at IS NOT NULL
       OR to_jsonb(new) - '{revoked_at,revoked_by,revocation}'::text[]
          <> to_jsonb(old) - '{revoked_at,revoked_by,revocation}'::text[] THEN
        RAISE EXCEPTION USING ERRCODE = 'SO409', MESSAGE = 'A delegation is never changed, only revoked, once.';
    END IF;
    RETURN new;
END $$;

-- A standing grant is used, proved again and revoked; what it allows never changes, and a revocation stays.
CREATE FUNCTION keep_grant() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF old.revoked_at IS NOT NULL OR new.uses_left > old.uses_left
       OR to_jsonb(new) - '{uses_left,constitution,attestation,revoked_at,revoked_by,revocation}'::text[]
          <> to_jsonb(old) - '{uses_left,constitution,attestation,revoked_at,revoked_by,revocation}'::text[] THEN
        RAISE EXCEPTION USING ERRCODE = 'SO409',
            MESSAGE = 'A standing grant is used, proved again or revoked, never changed otherwise.';
    END IF;
    RETURN new;
END $$;

-- The activation in force for a tenant, with its proof; NULL for none. A tenant's own that ends its constitution leaves
-- that of everybody.
CREATE FUNCTION constitution_activation(tenant text, wanted_stage text) RETURNS json
LANGUAGE sql STABLE SECURITY INVOKER AS $$
    SELECT json_agg(to_jsonb(found) || jsonb_build_object('legacy', EXISTS (
               SELECT FROM legacy_decisions WHERE legacy_decisions.scope = '*' AND kind = 'activation'
                                                AND legacy_decisions.id = found.id::text)) ORDER BY found.scope = '*')
    FROM (SELECT DISTINCT ON (scope) * FROM constitution_activations
          WHERE scope IN (tenant, '*') AND stage = wanted_stage ORDER BY scope, id DESC) AS found
$$;

-- Activate the constitution of a proposal. One lock covers all checks and the activation.
CREATE OR REPLACE FUNCTION constitution_activate(wanted text) RETURNS bigint
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
    -- An activation is made once, whatever the state of its proposal says.
    SELECT min(id) INTO number FROM constitution_activations AS done WHERE done.proposal = wanted;
    IF number IS NOT NULL THEN
        RETURN number;
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
    INSERT INTO constitution_activations (scope, stage, digest, reason, by, proposal, proof)
    VALUES (asked.scope, asked.stage, asked.digest, asked.reason, asked.proposed_by, wanted,
            attestations_of(wanted)::jsonb)
    RETURNING id INTO number;
    IF asked.clears IS NOT NULL THEN
        INSERT INTO constitution_activations (scope, stage, digest, reason, by, proposal, proof)
        VALUES (asked.clears, asked.stage, NULL, asked.reason, asked.proposed_by, wanted,
                attestations_of(wanted)::jsonb);
    END IF;
    UPDATE constitution_proposals SET state = 'activated', updated_at = clock_timestamp() WHERE id = wanted;
    PERFORM event_add('constitution.updated', 'constitution.updated', NULL, json_build_object(
        'constitution', asked.digest, 'scope', asked.scope, 'stage', asked.stage, 'reason', asked.reason,
        'against', asked.against, 'by', asked.proposed_by, 'approved_by', asked.approved_by,
        'proposal', wanted));
    RETURN number;
END $$;

DROP FUNCTION constitution_revoke(text, text, text);
-- Revoke a constitution for ever. Runs that are pinned to it stop at their next action.
CREATE FUNCTION constitution_revoke(wanted text, token text, reason text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    who text := attestation_claims(token)->'body'->>'subject';
BEGIN
    PERFORM set_config('somagent.actor', who, true);
    UPDATE constitutions SET state = 'revoked', revocation = attestation_use(token)
    WHERE digest = wanted AND state <> 'revoked';
    IF FOUND THEN
        PERFORM event_add('constitution.updated', 'constitution.revoked', NULL, json_build_object(
            'constitution', wanted, 'by', who, 'reason', reason));
    ELSIF NOT EXISTS (SELECT FROM constitutions WHERE digest = wanted) THEN
        RAISE EXCEPTION USING ERRCODE = 'SO404', MESSAGE = format('There is no constitution %s.', wanted);
    END IF;
END $$;
REVOKE EXECUTE ON FUNCTION constitution_revoke FROM PUBLIC;
GRANT EXECUTE ON FUNCTION constitution_revoke TO somagent_app;

-- Whether the attestation of a grant was verified, with the values that its row has now.
CREATE FUNCTION standing_proved(entry jsonb, given standing_grants) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM jsonb_array_elements(entry #> '{proved,grants}') AS proved
                   WHERE proved->>'id' = given.id AND to_jsonb(given) @> proved)
$$;

-- The grant for an effect: the one that an earlier attempt used, unless it was revoked; else the first offered grant
-- with a use left, its row locked. Only a grant whose attestation was verified. NULL when people were asked about this
-- action, or denied or edited it: their answer counts.
CREATE OR REPLACE FUNCTION gate_standing(entry jsonb) RETURNS standing_grants LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    found_grant standing_grants;
    offered text;
BEGIN
    SELECT given.* INTO found_grant FROM standing_uses AS used JOIN standing_grants AS given ON given.id = used.standing
    WHERE used.effect = entry->>'effect' AND used.action = entry->>'action_digest' AND given.revoked_at IS NULL;
    IF standing_proved(entry, found_grant) THEN
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
        WHERE id = offered AND granted_by <> entry->>'actor'
          AND uses > (SELECT count(*) FROM standing_uses WHERE standing = offered);
        IF FOUND AND standing_proved(entry, found_grant) THEN
            RETURN found_grant;
        END IF;
    END LOOP;
    RETURN NULL;
END $$;

-- The digests of the attestations that said yes, as canonical JSON.
CREATE FUNCTION approval_attestations(answers jsonb) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT '[' || coalesce(string_agg(canonical_text(answer->>'attestation'), ',' ORDER BY ordinal), '') || ']'
    FROM jsonb_array_elements(answers) WITH ORDINALITY AS listed (answer, ordinal) WHERE answer->>'said' = 'yes'
$$;

-- The facts for the evaluation of an action.
CREATE OR REPLACE FUNCTION gate_facts(tenant text, run_id text, account_id text, constitution text, asked jsonb DEFAULT '{}')
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
CREATE OR REPLACE FUNCTION gate_grant(entry jsonb, uncertain boolean) RETURNS approvals
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

DROP TRIGGER audited_answer ON approvals;
CREATE TRIGGER audited_answer AFTER UPDATE ON approvals FOR EACH ROW
WHEN (old.answers IS DISTINCT FROM new.answers)
EXECUTE FUNCTION audit_row('approval.answered', 'id', 'answers,-1,by', 'run', 'action', 'kind', 'target', 'state',
                           'answers,-1,said', 'answers,-1,on_behalf_of', 'answers,-1,comment', 'answers,-1,attestation');

DROP TRIGGER audited ON standing_grants;
CREATE TRIGGER audited AFTER INSERT ON standing_grants FOR EACH ROW
EXECUTE FUNCTION audit_row('grant.given', 'id', 'granted_by', 'scope', 'capability', 'reason', 'constitution', 'uses',
                           'expires_at', 'attestation');

DROP TRIGGER audited_end ON standing_grants;
CREATE TRIGGER audited_end AFTER UPDATE ON standing_grants FOR EACH ROW
WHEN (old.revoked_at IS DISTINCT FROM new.revoked_at)
EXECUTE FUNCTION audit_row('grant.revoked', 'id', 'revoked_by', 'revoked_at', 'revocation');

DROP TRIGGER audited_proof ON standing_grants;
CREATE TRIGGER audited_proof AFTER UPDATE ON standing_grants FOR EACH ROW
WHEN ((old.constitution, old.attestation) IS DISTINCT FROM (new.constitution, new.attestation))
EXECUTE FUNCTION audit_row('grant.proved', 'id', '-', 'constitution', 'attestation');

DROP TRIGGER audited ON delegations;
CREATE TRIGGER audited AFTER INSERT ON delegations FOR EACH ROW
EXECUTE FUNCTION audit_row('delegation.given', 'id', 'delegator', 'delegate', 'capability', 'reason', 'starts_at',
                           'ends_at', 'attestation');

DROP TRIGGER audited_end ON delegations;
CREATE TRIGGER audited_end AFTER UPDATE ON delegations FOR EACH ROW
WHEN (old.revoked_at IS DISTINCT FROM new.revoked_at)
EXECUTE FUNCTION audit_row('delegation.revoked', 'id', 'revoked_by', 'revoked_at', 'revocation');

DROP TRIGGER audited ON constitution_proposals;
CREATE TRIGGER audited AFTER INSERT ON constitution_proposals FOR EACH ROW
EXECUTE FUNCTION audit_row('constitution.proposed', 'id', 'proposed_by', 'digest', 'scope', 'stage', 'reason', 'change',
                           'attestation');

DROP TRIGGER audited_yes ON constitution_proposals;
CREATE TRIGGER audited_yes AFTER UPDATE ON constitution_proposals FOR EACH ROW
WHEN (old.approved_by IS DISTINCT FROM new.approved_by)
EXECUTE FUNCTION audit_row('constitution.approved', 'id', 'approved_by,-1', 'digest', 'scope', 'stage', 'vote');

DROP TRIGGER audited_no ON constitution_proposals;
CREATE TRIGGER audited_no AFTER UPDATE ON constitution_proposals FOR EACH ROW
WHEN (old.rejected_by IS DISTINCT FROM new.rejected_by)
EXECUTE FUNCTION audit_row('constitution.rejected', 'id', 'rejected_by', 'digest', 'scope', 'stage', 'vote');

DROP TRIGGER audited_end ON constitutions;
CREATE TRIGGER audited_end AFTER UPDATE ON constitutions FOR EACH ROW
WHEN (old.state IS DISTINCT FROM new.state)
EXECUTE FUNCTION audit_row('constitution.changed', 'digest', '-', 'name', 'version', 'state', 'revocation');

CREATE TRIGGER kept BEFORE UPDATE ON standing_grants FOR EACH ROW EXECUTE FUNCTION keep_grant();

CREATE TRIGGER immutable BEFORE DELETE ON standing_grants FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE TRIGGER never_emptied BEFORE TRUNCATE ON standing_grants EXECUTE FUNCTION refuse_change();

ALTER FUNCTION gate_facts(text, text, text, text, jsonb) SECURITY DEFINER SET search_path = public, pg_temp;
ALTER FUNCTION gate_begin(jsonb) SECURITY DEFINER SET search_path = public, pg_temp;
GRANT EXECUTE ON FUNCTION constitution_activation(text, text) TO somagent_app;
