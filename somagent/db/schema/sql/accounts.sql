-- Budget accounts, a tree. The limit of an account is a reservation in its parent; closing replaces it by what was
-- spent. Every change goes through account_post, so the balances are the sums of the entries. Locks are taken from the
-- root down.

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

-- The first dimension in which the account cannot cover a cost; NULL for none.
CREATE FUNCTION account_short(account budget_accounts, cost amounts) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN account.spent_tokens + account.reserved_tokens + (cost).tokens > account.limit_tokens THEN 'tokens'
        WHEN account.spent_micro_usd + account.reserved_micro_usd + (cost).micro_usd > account.limit_micro_usd
            THEN 'micro_usd'
        WHEN account.spent_tool_calls + account.reserved_tool_calls + (cost).tool_calls > account.limit_tool_calls
            THEN 'tool_calls'
    END
$$;

-- The greatest budget threshold that is reached: 0, 50, 80 or 100 per cent of a limit.
CREATE FUNCTION spent_level(spent bigint, bound bigint) RETURNS integer LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN bound <= 0 THEN 0 WHEN spent >= bound THEN 100
                WHEN spent * 100 >= bound * 80 THEN 80 WHEN spent * 100 >= bound * 50 THEN 50 ELSE 0 END
$$;

-- Publish each budget threshold that the account of a run has reached. Spending only grows, so each comes once.
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

-- Change an account whose row the caller has locked, and write the ledger entry.
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

-- Open an account without a parent. An existing one stays as it is.
CREATE FUNCTION account_open(account_id text, amounts_wanted jsonb) RETURNS void
LANGUAGE plpgsql SECURITY INVOKER AS $$
BEGIN
    INSERT INTO budget_accounts (tenant_id, id) VALUES (current_setting('somagent.tenant'), account_id)
    ON CONFLICT DO NOTHING;
    IF FOUND THEN
        PERFORM account_post(account_id, 'open', account_id, '', amounts_of(amounts_wanted), amounts_none(), amounts_none());
    END IF;
END $$;

-- Open an account with a part of its parent's limit. An open one under the same parent stays as it is.
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

-- Raise a limit by a part of the parent's limit; without a parent, by new funds. Once for each key.
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

-- Close an account. Its children must be closed. A reservation that was never settled counts as spent, because its
-- effect may have happened. The rest of the limit returns to the parent.
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

-- Count the reservations of an account's open effects as spent: of all effects, or of those of one action in one run.
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
