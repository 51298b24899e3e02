-- Row-level security, grants, and triggers that refuse changes. Row-level security is forced, so it limits the owner
-- too. Without the setting somagent.tenant no row is visible: current_setting(…, true) is NULL or empty, which is no
-- tenant.

DO $$
DECLARE
    name text;
BEGIN
    FOR name IN
        SELECT relation.relname FROM pg_class AS relation
        JOIN pg_attribute AS attribute ON attribute.attrelid = relation.oid AND attribute.attname = 'tenant_id'
        WHERE relation.relnamespace = current_schema()::regnamespace AND relation.relkind = 'r'
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY one_tenant ON %I USING (tenant_id = current_setting(''somagent.tenant'', true)) '
            'WITH CHECK (tenant_id = current_setting(''somagent.tenant'', true))', name);
    END LOOP;
END $$;

-- The relay reads the events and runs of all tenants. It can change only when an event was published.
CREATE POLICY relay_reads ON outbox FOR SELECT TO somagent_relay USING (true);
CREATE POLICY relay_marks ON outbox FOR UPDATE TO somagent_relay USING (true) WITH CHECK (true);
CREATE POLICY relay_reads ON runs FOR SELECT TO somagent_relay USING (true);
-- It also records the deliveries of notifications.
CREATE POLICY relay_delivers ON deliveries TO somagent_relay USING (true) WITH CHECK (true);
GRANT USAGE ON SCHEMA public TO somagent_app, somagent_relay;
GRANT SELECT ON tenants, runs, outbox TO somagent_relay;
GRANT UPDATE (published_at) ON outbox TO somagent_relay;
GRANT SELECT, INSERT, UPDATE ON deliveries TO somagent_relay;
GRANT SELECT ON deliveries TO somagent_app;

GRANT SELECT ON tenants, constitutions TO somagent_app;
-- Written by functions only (`privileges.sql`):
GRANT SELECT ON runs, receipts, effects, budget_accounts, ledger_entries, standing_uses, outbox TO somagent_app;
-- Rows are only added:
GRANT SELECT, INSERT ON capsules, content_blobs, artifacts, memories TO somagent_app;
-- Rows are added and changed, never deleted:
GRANT SELECT, INSERT, UPDATE ON approvals TO somagent_app;
-- Written by the functions of `identity.sql` only:
GRANT SELECT ON principals, api_keys, token_families TO somagent_app;
-- A standing grant: only the uses left, the revocation, and the constitution that it was proved under can change.
GRANT SELECT, INSERT ON standing_grants TO somagent_app;
GRANT UPDATE (uses_left, revoked_at, revoked_by, constitution, attestation, revocation) ON standing_grants TO somagent_app;
-- A delegation: only its revocation can change.
GRANT SELECT, INSERT ON delegations TO somagent_app;
GRANT UPDATE (revoked_at, revoked_by, revocation) ON delegations TO somagent_app;

-- Refuse any change of a row, also by the owner.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = 'SO409',
        MESSAGE = format('A row of %s is never changed or deleted; add a new one.', TG_TABLE_NAME);
END $$;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['capsules', 'receipts', 'ledger_entries'] LOOP
        EXECUTE format('CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION refuse_change()', name);
        EXECUTE format('CREATE TRIGGER never_emptied BEFORE TRUNCATE ON %I EXECUTE FUNCTION refuse_change()', name);
    END LOOP;
END $$;

-- A delegation can be revoked once; nothing else in it changes.
CREATE FUNCTION keep_delegation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF old.revoked_at IS NOT NULL
       OR to_jsonb(new) - '{revoked_at,revoked_by,revocation}'::text[]
          <> to_jsonb(old) - '{revoked_at,revoked_by,revocation}'::text[] THEN
        RAISE EXCEPTION USING ERRCODE = 'SO409', MESSAGE = 'A delegation is never changed, only revoked, once.';
    END IF;
    RETURN new;
END $$;
CREATE TRIGGER kept BEFORE UPDATE ON delegations FOR EACH ROW EXECUTE FUNCTION keep_delegation();
CREATE TRIGGER immutable BEFORE DELETE ON delegations FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON delegations EXECUTE FUNCTION refuse_change();

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
CREATE TRIGGER kept BEFORE UPDATE ON standing_grants FOR EACH ROW EXECUTE FUNCTION keep_grant();
CREATE TRIGGER immutable BEFORE DELETE ON standing_grants FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON standing_grants EXECUTE FUNCTION refuse_change();

-- A forecast is made once, before the run acts. If it could change, its accuracy would prove nothing.
GRANT SELECT, INSERT ON forecasts TO somagent_app;
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON forecasts FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON forecasts EXECUTE FUNCTION refuse_change();
