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
