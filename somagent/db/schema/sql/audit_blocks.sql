-- Audit blocks: triggers queue each record; only the sealer's role can take records from the queue.

GRANT USAGE ON SCHEMA public TO somagent_sealer;
GRANT SELECT ON audit_entries, seal_pending, seal_leaves, seal_blocks TO somagent_app;
GRANT SELECT, DELETE ON seal_pending TO somagent_sealer;
GRANT SELECT, INSERT ON seal_leaves, seal_blocks TO somagent_sealer;

-- The sealer closes the records of all tenants into blocks. It can read their hashes only.
CREATE POLICY sealer_takes ON seal_pending TO somagent_sealer USING (true) WITH CHECK (true);
CREATE POLICY sealer_numbers ON seal_leaves TO somagent_sealer USING (true) WITH CHECK (true);
CREATE POLICY sealer_seals ON seal_blocks TO somagent_sealer USING (true) WITH CHECK (true);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['audit_entries', 'seal_leaves', 'seal_blocks'] LOOP
        EXECUTE format('CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION refuse_change()', name);
        EXECUTE format('CREATE TRIGGER never_emptied BEFORE TRUNCATE ON %I EXECUTE FUNCTION refuse_change()', name);
    END LOOP;
END $$;

-- Queue a record for the sealer. Only the owner's functions add records, so no role can queue one that was never written.
CREATE FUNCTION seal_receipt() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO seal_pending (tenant_id, kind, subject, number, hash)
    VALUES (new.tenant_id, 'receipt', new.run, new.seq, new.hash);
    RETURN NULL;
END $$;
CREATE TRIGGER queued AFTER INSERT ON receipts FOR EACH ROW EXECUTE FUNCTION seal_receipt();

CREATE FUNCTION seal_entry() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO seal_pending (tenant_id, kind, subject, number, hash)
    VALUES (new.tenant_id, 'audit', '', new.id, new.hash);
    RETURN NULL;
END $$;
CREATE TRIGGER queued AFTER INSERT ON audit_entries FOR EACH ROW EXECUTE FUNCTION seal_entry();

-- The tenants with records in the queue. Reads one index entry for each tenant, however long the queue is.
CREATE FUNCTION seal_waiting() RETURNS SETOF text LANGUAGE plpgsql STABLE SECURITY INVOKER AS $$
DECLARE
    found text;
BEGIN
    SELECT min(tenant_id) INTO found FROM seal_pending;
    WHILE found IS NOT NULL LOOP
        RETURN NEXT found;
        SELECT min(tenant_id) INTO found FROM seal_pending WHERE tenant_id > found;
    END LOOP;
END $$;

-- Number the oldest records in the queue of a tenant, as leaves of the next block. The caller holds the tenant's lock
-- and inserts the block in the same transaction.
CREATE FUNCTION seal_take(tenant text, next_height bigint, next_seq bigint, most integer) RETURNS SETOF seal_leaves
LANGUAGE sql SECURITY INVOKER AS $$
    WITH oldest AS (
        SELECT id FROM seal_pending WHERE tenant_id = tenant ORDER BY id LIMIT most
    ), taken AS (
        DELETE FROM seal_pending USING oldest WHERE tenant_id = tenant AND seal_pending.id = oldest.id
        RETURNING seal_pending.*
    ), numbered AS (
        INSERT INTO seal_leaves (tenant_id, seq, kind, subject, number, hash, height)
        SELECT tenant, next_seq - 1 + row_number() OVER (ORDER BY id), kind, subject, number, hash, next_height
        FROM taken
        RETURNING seal_leaves.*
    )
    SELECT * FROM numbered ORDER BY seq
$$;
