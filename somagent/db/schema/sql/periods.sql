-- Budget periods: the monthly allowance of a tenant or project, and credit that is spent once. The first call of a
-- month opens it. An earlier month is never opened again, also after the clock was set back. Locks are taken from the
-- root down, projects by name.

CREATE FUNCTION amounts_plus(one amounts, other amounts) RETURNS amounts LANGUAGE sql IMMUTABLE AS $$
    SELECT ((one).tokens + (other).tokens, (one).micro_usd + (other).micro_usd,
            (one).tool_calls + (other).tool_calls)::amounts
$$;

-- The greater and the lesser amount of each dimension.
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

-- Open the month of `moment` in the tree of an account, if it is later than the open one. Locks nothing otherwise.
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

-- Open the month of now, for whoever looks at an account.
CREATE FUNCTION period_begin(account_id text) RETURNS void LANGUAGE plpgsql SECURITY INVOKER AS $$
BEGIN
    PERFORM period_open(account_id);
END $$;

-- Open a month of an account without a parent: nothing is spent; the limit is the allowance plus the credit left.
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

-- Open a month of a project: its limit is the allowance again, as far as the parent has it. Its spending was moved up.
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

-- Set the terms of a tenant's account or of a project, which is opened if it is missing. The limit does not fall below
-- what is spent and reserved; then no further effect begins.
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

-- Give credit to an account without a parent, once for each key, for example to a new tenant.
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

-- Close an account. Raises SO409 while an account under it is open.
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
