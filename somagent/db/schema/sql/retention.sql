-- Deletion of content after its retention: inputs and outputs of runs, content blobs and memories. Receipts, ledger,
-- approvals and audit are kept; they contain digests only. Content under a legal hold is not deleted.

GRANT SELECT, INSERT, UPDATE ON retention TO somagent_app;
GRANT SELECT, INSERT ON legal_holds TO somagent_app;
GRANT UPDATE (lifted_by, lifted_at) ON legal_holds TO somagent_app;
GRANT UPDATE (last_put_at) ON content_blobs TO somagent_app;

-- A hold can be lifted once; nothing else in it changes.
CREATE FUNCTION keep_hold() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF old.lifted_at IS NOT NULL
       OR to_jsonb(new) - '{lifted_at,lifted_by}'::text[] <> to_jsonb(old) - '{lifted_at,lifted_by}'::text[] THEN
        RAISE EXCEPTION USING ERRCODE = 'SO409', MESSAGE = 'A legal hold is never changed, only lifted, once.';
    END IF;
    RETURN new;
END $$;
CREATE TRIGGER kept BEFORE UPDATE ON legal_holds FOR EACH ROW EXECUTE FUNCTION keep_hold();
CREATE TRIGGER immutable BEFORE DELETE ON legal_holds FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON legal_holds EXECUTE FUNCTION refuse_change();

CREATE FUNCTION run_held(run runs) RETURNS boolean LANGUAGE sql STABLE SECURITY INVOKER AS $$
    SELECT EXISTS (
        SELECT FROM legal_holds WHERE lifted_at IS NULL AND (
            scope = 'tenant' OR scope = 'capsule:' || split_part(run.capsule, '@', 1)
            OR run.id = substr(scope, 5) OR starts_with(run.id, substr(scope, 5) || '/')))
$$;

-- Runs whose content is due. A child run is not due while its parent is open.
CREATE FUNCTION retention_runs() RETURNS SETOF runs LANGUAGE sql STABLE SECURITY INVOKER AS $$
    SELECT run.* FROM runs AS run CROSS JOIN retention AS terms
    WHERE run.pruned_at IS NULL AND run.closed_at < clock_timestamp() - make_interval(days => terms.content_days)
      AND NOT run_held(run)
      AND NOT EXISTS (SELECT FROM runs AS above WHERE above.id = run.parent AND above.closed_at IS NULL)
    ORDER BY run.closed_at
$$;

-- Blobs that no run needs: old enough, and no unpruned run was open between the first and the last time they were
-- stored. Times are compared because equal bytes are one blob, which names no run. gone: runs to treat as pruned.
CREATE FUNCTION retention_blobs(gone text[] DEFAULT '{}') RETURNS TABLE (digest text) LANGUAGE sql STABLE SECURITY INVOKER AS $$
    SELECT blob.digest FROM content_blobs AS blob CROSS JOIN retention AS terms
    WHERE blob.last_put_at < clock_timestamp() - make_interval(days => terms.content_days)
      AND NOT EXISTS (
        SELECT FROM runs WHERE pruned_at IS NULL AND id <> ALL (gone) AND created_at <= blob.last_put_at
          AND coalesce(closed_at, 'infinity') >= blob.created_at)
$$;

CREATE FUNCTION retention_memories() RETURNS TABLE (id text) LANGUAGE sql STABLE SECURITY INVOKER AS $$
    SELECT memory.id FROM memories AS memory CROSS JOIN retention AS terms
    LEFT JOIN runs AS whose ON whose.tenant_id = memory.tenant_id AND whose.id = memory.run
    WHERE memory.created_at < clock_timestamp() - make_interval(days => terms.memory_days)
      AND NOT CASE WHEN whose.id IS NULL THEN EXISTS (SELECT FROM legal_holds WHERE lifted_at IS NULL)
                   ELSE run_held(whose) END
$$;

-- The numbers of items that are due now.
CREATE FUNCTION retention_due() RETURNS json LANGUAGE sql STABLE SECURITY INVOKER AS $$
    WITH due AS (SELECT coalesce(array_agg(id), '{}') AS runs FROM retention_runs())
    SELECT json_build_object('runs', (SELECT cardinality(runs) FROM due),
                             'blobs', (SELECT count(*) FROM retention_blobs((SELECT runs FROM due))),
                             'memories', (SELECT count(*) FROM retention_memories()))
$$;

-- Delete at most `most` items of each kind that are due in a tenant, and return their numbers. Runs with the owner's
-- rights, because no role has the right to delete. Call it again until it returns zeros.
CREATE FUNCTION retention_prune(tenant text, most integer) RETURNS json
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    due text[];
    gone_blobs bigint;
    gone_memories bigint;
BEGIN
    PERFORM set_config('somagent.tenant', tenant, true);
    PERFORM set_config('somagent.actor', 'retention', true);
    -- A hold that is being placed is waited for, and one placed from now on waits for this.
    LOCK TABLE legal_holds IN SHARE MODE;
    SELECT array_agg(id) INTO due FROM (SELECT id FROM retention_runs() LIMIT most) AS first;
    UPDATE runs SET inputs = '{}', output = NULL, pruned_at = clock_timestamp() WHERE id = ANY(due);
    UPDATE effects SET result = NULL, error = '' WHERE run = ANY(due);
    DELETE FROM outbox WHERE run = ANY(due) AND published_at IS NOT NULL;
    DELETE FROM content_blobs WHERE digest IN (SELECT digest FROM retention_blobs() LIMIT most);
    GET DIAGNOSTICS gone_blobs = ROW_COUNT;
    DELETE FROM memories WHERE id IN (SELECT id FROM retention_memories() LIMIT most);
    GET DIAGNOSTICS gone_memories = ROW_COUNT;
    RETURN json_build_object('runs', coalesce(cardinality(due), 0), 'blobs', gone_blobs, 'memories', gone_memories);
END $$;
GRANT EXECUTE ON FUNCTION retention_prune(text, integer) TO somagent_relay;

CREATE TRIGGER audited AFTER INSERT OR UPDATE ON retention FOR EACH ROW
EXECUTE FUNCTION audit_row('retention.set', 'tenant_id', 'set_by', 'content_days', 'memory_days');
CREATE TRIGGER audited AFTER INSERT ON legal_holds FOR EACH ROW
EXECUTE FUNCTION audit_row('hold.placed', 'id', 'placed_by', 'scope', 'reason');
CREATE TRIGGER audited_end AFTER UPDATE ON legal_holds FOR EACH ROW
EXECUTE FUNCTION audit_row('hold.lifted', 'id', 'lifted_by', 'scope', 'lifted_at');
CREATE TRIGGER audited_pruning AFTER UPDATE ON runs FOR EACH ROW
WHEN (old.pruned_at IS NULL AND new.pruned_at IS NOT NULL)
EXECUTE FUNCTION audit_row('retention.pruned', 'id', '-', 'closed_at');
CREATE TRIGGER audited_forgetting AFTER DELETE ON memories FOR EACH ROW
EXECUTE FUNCTION audit_row('memory.forgotten', 'id', '-', 'run', 'space');
