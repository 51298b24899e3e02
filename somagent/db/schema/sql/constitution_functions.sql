-- The four functions by which the application changes constitutions. They run with the owner's rights; the
-- application's role has no other right to these tables. They add rows; only a revocation changes one.

-- The activation in force for a tenant, with its proof; NULL for none. A tenant's own that ends its constitution leaves
-- that of everybody.
CREATE FUNCTION constitution_activation(tenant text, wanted_stage text) RETURNS json
LANGUAGE sql STABLE SECURITY INVOKER AS $$
    SELECT json_agg(to_jsonb(found) || jsonb_build_object('legacy', EXISTS (
               SELECT FROM legacy_decisions WHERE legacy_decisions.scope = '*' AND kind = 'activation'
                                                AND legacy_decisions.id = found.id::text)) ORDER BY found.scope = '*')
    FROM (SELECT DISTINCT ON (scope) * FROM constitution_activations
          WHERE scope IN (tenant, '*') AND stage = wanted_stage ORDER BY scope, id DESC) AS found
$$;

-- The digest of the constitution that is active for a tenant; NULL for none.
CREATE FUNCTION constitution_of(tenant text, wanted_stage text) RETURNS text LANGUAGE sql STABLE SECURITY INVOKER AS $$
    SELECT coalesce(
        (SELECT digest FROM constitution_activations
         WHERE scope = tenant AND stage = wanted_stage ORDER BY id DESC LIMIT 1),
        (SELECT digest FROM constitution_activations
         WHERE scope = '*' AND stage = wanted_stage ORDER BY id DESC LIMIT 1))
$$;

-- Store a document and its signatures. A later signature is added by the same call with the same document.
CREATE FUNCTION constitution_install(entry json, sealed_document bytea) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO constitutions (digest, sha3_512, name, version, sealed_by, sealed, proposed_by)
    VALUES (entry->>'digest', entry->>'sha3_512', entry->>'name', entry->>'version', entry->>'sealed_by',
            sealed_document, entry->>'proposed_by')
    ON CONFLICT DO NOTHING;
    INSERT INTO constitution_signatures (digest, key_id, signature)
    SELECT entry->>'digest', one->>'key_id', one->>'signature' FROM json_array_elements(entry->'signatures') AS one
    ON CONFLICT DO NOTHING;
END $$;

-- Activate the constitution of a proposal. One lock covers all checks and the activation.
CREATE FUNCTION constitution_activate(wanted text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    asked constitution_proposals;
    newer constitution_activations;
    number bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(7405113804);
    SELECT * INTO asked FROM constitution_proposals WHERE id = wanted FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'SO404', MESSAGE = format('There is no proposal %L.', wanted);
    END IF;
    -- An activation is made once, whatever the state of its proposal says.
    SELECT min(id) INTO number FROM constitution_activations AS done WHERE done.proposal = wanted;
    IF number IS NOT NULL THEN
        RETURN number;
    END IF;
    IF asked.state <> 'approved' OR cardinality(asked.approved_by) < asked.quorum THEN
        RAISE EXCEPTION USING ERRCODE = 'SO409',
            MESSAGE = format('Proposal %L is %s; only an approved one is activated.', wanted, asked.state);
    END IF;
    IF EXISTS (SELECT FROM constitutions WHERE digest = asked.digest AND state = 'revoked') THEN
        RAISE EXCEPTION USING ERRCODE = 'SO409',
            MESSAGE = format('Constitution %s was revoked meanwhile.', asked.digest);
    END IF;
    SELECT * INTO newer FROM constitution_activations
    WHERE id > asked.since AND stage = 'active' AND asked.stage = 'active'
      AND (asked.scope = '*' OR scope IN ('*', asked.scope)) ORDER BY id DESC LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'SO409', MESSAGE = format(
            'Meanwhile %s became active for %L; what was proved and compared was against another. Propose it again.',
            coalesce(newer.digest, 'everybody''s constitution'), newer.scope);
    END IF;
    INSERT INTO constitution_activations (scope, stage, digest, reason, by, proposal, proof)
    VALUES (asked.scope, asked.stage, asked.digest, asked.reason, asked.proposed_by, wanted,
            attestations_of(wanted)::jsonb)
    RETURNING id INTO number;
    IF asked.clears IS NOT NULL THEN
        INSERT INTO constitution_activations (scope, stage, digest, reason, by, proposal, proof)
        VALUES (asked.clears, asked.stage, NULL, asked.reason, asked.proposed_by, wanted,
                attestations_of(wanted)::jsonb);
    END IF;
    UPDATE constitution_proposals SET state = 'activated', updated_at = clock_timestamp() WHERE id = wanted;
    PERFORM event_add('constitution.updated', 'constitution.updated', NULL, json_build_object(
        'constitution', asked.digest, 'scope', asked.scope, 'stage', asked.stage, 'reason', asked.reason,
        'against', asked.against, 'by', asked.proposed_by, 'approved_by', asked.approved_by,
        'proposal', wanted));
    RETURN number;
END $$;

-- End the shadow of a scope. It decides nothing, so no approval is needed.
CREATE FUNCTION constitution_unshadow(wanted text, who text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO constitution_activations (scope, stage, digest, reason, by)
    VALUES (wanted, 'shadow', NULL, 'off', who);
    PERFORM event_add('constitution.updated', 'constitution.updated', NULL, json_build_object(
        'constitution', NULL, 'scope', wanted, 'stage', 'shadow', 'reason', 'off', 'by', who));
END $$;

-- Revoke a constitution for ever. Runs that are pinned to it stop at their next action.
CREATE FUNCTION constitution_revoke(wanted text, token text, reason text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    who text := attestation_claims(token)->'body'->>'subject';
BEGIN
    PERFORM set_config('somagent.actor', who, true);
    UPDATE constitutions SET state = 'revoked', revocation = attestation_use(token)
    WHERE digest = wanted AND state <> 'revoked';
    IF FOUND THEN
        PERFORM event_add('constitution.updated', 'constitution.revoked', NULL, json_build_object(
            'constitution', wanted, 'by', who, 'reason', reason));
    ELSIF NOT EXISTS (SELECT FROM constitutions WHERE digest = wanted) THEN
        RAISE EXCEPTION USING ERRCODE = 'SO404', MESSAGE = format('There is no constitution %s.', wanted);
    END IF;
END $$;

GRANT EXECUTE ON FUNCTION constitution_install, constitution_activate, constitution_unshadow, constitution_revoke
    TO somagent_app;
GRANT SELECT ON constitution_signatures, constitution_activations TO somagent_app;
GRANT SELECT, INSERT, UPDATE ON constitution_proposals TO somagent_app;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['constitution_signatures', 'constitution_activations'] LOOP
        EXECUTE format('CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION refuse_change()', name);
        EXECUTE format('CREATE TRIGGER never_emptied BEFORE TRUNCATE ON %I EXECUTE FUNCTION refuse_change()', name);
    END LOOP;
END $$;
