-- The row of a run: entered by the API or by an application, admitted, and following its workflow. `gate_begin.sql` enters
-- the runs of schedules, `run_close.sql` ends a run.

CREATE FUNCTION run_lock(run_id text) RETURNS void LANGUAGE plpgsql SECURITY INVOKER AS $$
BEGIN
    PERFORM FROM runs WHERE id = run_id FOR NO KEY UPDATE;
END $$;

-- Enter a run that the API accepted, and return whether it is new. Raises SO409 for another request under the same id.
CREATE FUNCTION run_accept(entry jsonb, given_inputs json) RETURNS boolean LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    run_id text := entry->>'id';
    known text;
BEGIN
    INSERT INTO runs (tenant_id, id, capsule, digest, actor, parent, status, inputs, request)
    VALUES (current_setting('somagent.tenant'), run_id, entry->>'capsule', entry->>'digest', entry->>'actor',
            entry->>'parent', 'starting', given_inputs, entry->>'request')
    ON CONFLICT DO NOTHING;
    IF FOUND THEN
        PERFORM event_add('agent.events', 'run.started', run_id, json_build_object(
            'capsule', entry->>'capsule', 'actor', entry->>'actor', 'parent', entry->>'parent'));
        RETURN true;
    END IF;
    SELECT request INTO known FROM runs WHERE id = run_id FOR NO KEY UPDATE;
    IF known IS NULL THEN -- the gate entered the run first
        UPDATE runs SET request = entry->>'request', inputs = given_inputs, digest = coalesce(digest, entry->>'digest')
        WHERE id = run_id;
    ELSIF known <> entry->>'request' THEN
        RAISE EXCEPTION USING ERRCODE = 'SO409', DETAIL = json_build_object('run', run_id),
            MESSAGE = format('Run %L was started with another request. Use another idempotency key.', run_id);
    END IF;
    RETURN false;
END $$;

-- Enter a run of a governed application with its pinned terms, and return whether it is new.
CREATE FUNCTION run_enrol(entry jsonb, given_inputs json, pinned json) RETURNS boolean
LANGUAGE plpgsql SECURITY INVOKER AS $$
BEGIN
    INSERT INTO runs (tenant_id, id, capsule, actor, parent, status, inputs, account, lock)
    VALUES (current_setting('somagent.tenant'), entry->>'id', entry->>'capsule', entry->>'actor', entry->>'parent',
            'running', given_inputs, entry->>'account', pinned)
    ON CONFLICT DO NOTHING;
    IF FOUND THEN
        PERFORM event_add('agent.events', 'run.started', entry->>'id', json_build_object(
            'capsule', entry->>'capsule', 'actor', entry->>'actor'));
        RETURN true;
    END IF;
    RETURN false;
END $$;

-- Write the lock and the account of a run once, and return the lock that counts, the first. Raises SO404.
CREATE FUNCTION run_admit(run_id text, of_digest text, of_parent text, of_account text, pinned json) RETURNS json
LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    found_run runs;
BEGIN
    SELECT * INTO found_run FROM runs WHERE id = run_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'SO404', DETAIL = json_build_object('run', run_id),
            MESSAGE = format('There is no run %L to admit.', run_id);
    END IF;
    IF found_run.lock IS NOT NULL THEN
        RETURN found_run.lock;
    END IF;
    UPDATE runs SET digest = of_digest, parent = of_parent, account = of_account, lock = pinned WHERE id = run_id;
    RETURN pinned;
END $$;

-- Write the state of a workflow, and return whether the run was open. Only `run_close` ends a run.
CREATE FUNCTION run_record(run_id text, new_status text, why text, at_step integer) RETURNS boolean
LANGUAGE plpgsql SECURITY INVOKER AS $$
BEGIN
    IF new_status IN ('completed', 'failed', 'cancelled') THEN
        RAISE EXCEPTION USING ERRCODE = 'SO409', DETAIL = json_build_object('run', run_id),
            MESSAGE = format('Run %L cannot be recorded as %s: only run_close ends a run.', run_id, new_status);
    END IF;
    UPDATE runs SET status = new_status, reason = why, step = at_step, updated_at = now()
    WHERE id = run_id AND closed_at IS NULL;
    RETURN FOUND;
END $$;

-- Refuse a change of what a run is, once it is admitted, and any change of a run that has ended, except the deletion of
-- its content.
CREATE FUNCTION keep_run() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF old.closed_at IS NOT NULL THEN
        IF (new.status, new.reason, new.artifact, new.closed_at, new.account, new.request)
           IS DISTINCT FROM (old.status, old.reason, old.artifact, old.closed_at, old.account, old.request)
           OR (new.pruned_at IS NULL AND (new.output::text, new.inputs::text)
               IS DISTINCT FROM (old.output::text, old.inputs::text)) THEN
            RAISE EXCEPTION USING ERRCODE = 'SO409', DETAIL = json_build_object('run', old.id),
                MESSAGE = format('Run %L has ended (%s); its row is final.', old.id, old.status);
        END IF;
    END IF;
    IF (new.capsule, new.actor) IS DISTINCT FROM (old.capsule, old.actor)
       OR (old.lock IS NOT NULL AND (new.digest, new.parent, new.lock::text)
           IS DISTINCT FROM (old.digest, old.parent, old.lock::text)) THEN
        RAISE EXCEPTION USING ERRCODE = 'SO409', DETAIL = json_build_object('run', old.id),
            MESSAGE = format('Run %L was admitted; what it is, and for whom, does not change.', old.id);
    END IF;
    RETURN new;
END $$;
CREATE TRIGGER kept BEFORE UPDATE OF capsule, digest, actor, parent, status, reason, inputs, request, output, artifact,
    lock, account, closed_at, pruned_at ON runs FOR EACH ROW EXECUTE FUNCTION keep_run();
CREATE TRIGGER immutable BEFORE DELETE ON runs FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON runs EXECUTE FUNCTION refuse_change();

-- What a run is, as canonical JSON. It is sealed when the run is admitted.
CREATE FUNCTION run_body(run runs) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT format('{"actor":%s,"capsule":%s,"digest":%s,"id":%s,"lock":%s,"parent":%s}',
                  canonical_text(run.actor), canonical_text(run.capsule), canonical_text(run.digest), canonical_text(run.id),
                  canonical_text(digest_text(run.lock::text)), canonical_text(run.parent))
$$;

CREATE FUNCTION seal_run() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO seal_pending (tenant_id, kind, subject, number, hash)
    VALUES (new.tenant_id, 'run', new.id, 1, digest_text(run_body(new)));
    RETURN NULL;
END $$;
CREATE TRIGGER queued AFTER INSERT ON runs FOR EACH ROW WHEN (new.lock IS NOT NULL) EXECUTE FUNCTION seal_run();
CREATE TRIGGER queued_admission AFTER UPDATE OF lock ON runs FOR EACH ROW
WHEN (old.lock IS NULL AND new.lock IS NOT NULL) EXECUTE FUNCTION seal_run();
