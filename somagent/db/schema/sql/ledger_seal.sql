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
