-- Sealing: every receipt and audit entry is queued as it is written; only the sealer's role empties the queue.

GRANT USAGE ON SCHEMA public TO somagent_sealer;
GRANT SELECT, INSERT ON audit_entries TO somagent_app;
GRANT USAGE ON SEQUENCE audit_entries_id_seq TO somagent_app;
GRANT SELECT ON seal_pending, seal_leaves, seal_blocks TO somagent_app;
GRANT SELECT, DELETE ON seal_pending TO somagent_sealer;
GRANT SELECT, INSERT ON seal_leaves, seal_blocks TO somagent_sealer;

-- The sealer works for every tenant, and sees nothing of them but hashes.
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

-- Queue a record for the sealer. With the owner's right: who writes records cannot take one out of the queue, or put in
-- what was never recorded.
CREATE FUNCTION seal_receipt() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO seal_pending (tenant_id, kind, subject, number, hash)
    VALUES (new.tenant_id, 'receipt', new.run, new.seq, new.hash);
    RETURN NULL;
END $$;
CREATE TRIGGER queued AFTER INSERT ON receipts FOR EACH ROW EXECUTE FUNCTION seal_receipt();

CREATE FUNCTION seal_entry() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO seal_pending (tenant_id, kind, subject, number, hash)
    VALUES (new.tenant_id, 'audit', '', new.id, new.hash);
    RETURN NULL;
END $$;
CREATE TRIGGER queued AFTER INSERT ON audit_entries FOR EACH ROW EXECUTE FUNCTION seal_entry();
REVOKE ALL ON FUNCTION seal_receipt(), seal_entry() FROM PUBLIC;

-- The tenants that have something to seal. The queue's index is skipped through, however long it is.
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

-- Give the oldest waiting records of a tenant the next numbers of its sequence. The caller has locked the tenant's
-- sealing, and adds the block over them in the same transaction.
CREATE FUNCTION seal_take(tenant text, next_height bigint, next_seq bigint, most integer) RETURNS SETOF seal_leaves
LANGUAGE sql SECURITY INVOKER AS $$
    WITH oldest AS (
        SELECT id FROM seal_pending WHERE tenant_id = tenant ORDER BY id LIMIT most
    ), taken AS (
        DELETE FROM seal_pending USING oldest WHERE seal_pending.id = oldest.id RETURNING seal_pending.*
    ), numbered AS (
        INSERT INTO seal_leaves (tenant_id, seq, kind, subject, number, hash, height)
        SELECT tenant, next_seq - 1 + row_number() OVER (ORDER BY id), kind, subject, number, hash, next_height
        FROM taken
        RETURNING seal_leaves.*
    )
    SELECT * FROM numbered ORDER BY seq
$$;
