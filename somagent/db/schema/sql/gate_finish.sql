-- Finish an effect: settle the reservation with the real usage, store the result, write the receipt. Once per attempt.

CREATE FUNCTION gate_topic(kind text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN kind = 'tool.invoke' THEN 'tool.events' WHEN kind LIKE 'slm.%' THEN 'slm.responses'
                ELSE 'agent.events' END
$$;

-- outcome: how the effect ended. result_text: stored byte for byte, so that its digest can be checked.
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
