-- Wall clock: seconds that the runs of a tenant or project may work. A root run reserves the wall clock of its capsule,
-- and its end replaces that by the seconds it worked. Child runs reserve nothing: they work in the time of their
-- parent. Only accounts with a limit are locked, from the root down.

-- The accounts above a run that limit its time, from the root down.
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

-- Carve a run's account, and reserve its wall clock where that is limited. An existing account stays. Raises SO402.
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

-- Count the seconds that a run worked, once, before its account is closed. NULL counts the whole reservation.
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

-- The accounts in which a run has a reservation of time, locked from the root down.
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

-- Open a month: no second is worked yet; reservations of open runs stay.
CREATE FUNCTION clock_renew(account_id text, month date) RETURNS void LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    worked bigint;
BEGIN
    SELECT spent_seconds INTO worked FROM budget_accounts WHERE id = account_id;
    IF worked <> 0 THEN
        PERFORM clock_post(account_id, 'period', 'wall clock of ' || month, -worked, 0);
    END IF;
END $$;
