-- Receipts and events of the gate.

-- The canonical JSON (RFC 8785) of an object. Its members come as canonical text and are ordered by their ASCII names.
-- Python sends the large members; the database adds the members that only it knows.
CREATE FUNCTION canonical_object(parts jsonb) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT '{' || coalesce(string_agg(to_json(key)::text || ':' || value, ',' ORDER BY key COLLATE "C"), '') || '}'
    FROM jsonb_each_text(parts)
$$;

-- The canonical JSON text of a string. PostgreSQL escapes as RFC 8785 demands.
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

-- Write an event. The caller has locked the run's row, so a run's events become visible in the order of their ids.
CREATE FUNCTION event_add(event_topic text, event_type text, event_run text, event_data json) RETURNS void
LANGUAGE plpgsql SECURITY INVOKER AS $$
BEGIN
    INSERT INTO outbox (topic, type, tenant_id, run, at, data)
    VALUES (event_topic, event_type, current_setting('somagent.tenant'), event_run, clock_timestamp(), event_data);
END $$;

-- Write an event of a change that has no function, with the run's row locked, and return it.
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
