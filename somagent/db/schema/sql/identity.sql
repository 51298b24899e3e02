-- Identity: who may call, and with which keys and tokens. These functions are the only way to write the tables, so the
-- application's role cannot undo a revocation or go back to an earlier version of a record. It can call the functions
-- with what it likes; the record of a principal, a key or a tenant therefore has a `proof`, signed by the API, that
-- each use verifies.
-- A proof of NULL is a record from before proofs. The bootstrap signs it once. A new record never has NULL.

-- Add a principal (version 1), or replace its record by the next version. A revoked principal never changes again.
CREATE FUNCTION principal_put(wanted text, held text[], next_state text, next_version integer, signed text, by text)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO principals (tenant_id, subject, capabilities, state, version, proof)
    SELECT current_setting('somagent.tenant', true), wanted, held, next_state, next_version, coalesce(signed, '')
    WHERE next_version = 1 OR EXISTS (SELECT FROM principals WHERE subject = wanted)
    ON CONFLICT (tenant_id, subject) DO UPDATE
    SET capabilities = excluded.capabilities, state = excluded.state, version = excluded.version,
        proof = excluded.proof, changed_at = clock_timestamp()
    WHERE principals.version = next_version - 1 AND principals.state <> 'revoked';
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'SO409',
            MESSAGE = format('The principal %L was changed meanwhile, or is revoked. Read it again.', wanted);
    END IF;
    IF next_state = 'revoked' THEN
        PERFORM credentials_end(wanted, by, 'principal revoked');
    END IF;
END $$;

-- The same for a tenant, which the owner of the database added.
CREATE FUNCTION tenant_put(wanted text, next_state text, next_version integer, signed text, by text)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM set_config('somagent.tenant', wanted, true), set_config('somagent.actor', by, true);
    UPDATE tenants SET state = next_state, version = next_version, proof = coalesce(signed, ''),
                       changed_at = clock_timestamp()
    WHERE id = wanted AND version = next_version - 1 AND state <> 'revoked';
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'SO409',
            MESSAGE = format('The tenant %L was changed meanwhile, is revoked, or is not there. Read it again.', wanted);
    END IF;
    IF next_state = 'revoked' THEN
        PERFORM credentials_end(NULL, by, 'tenant revoked');
    END IF;
END $$;

CREATE FUNCTION key_add(key_id text, key_hash text, holder text, held text[], ends timestamptz, confirming jsonb,
                        signed text)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM principals WHERE subject = holder AND state = 'active' FOR SHARE) THEN
        RAISE EXCEPTION USING ERRCODE = 'SO409', MESSAGE = format('The principal %L is not active.', holder);
    END IF;
    INSERT INTO api_keys (tenant_id, id, hash, subject, capabilities, expires_at, confirmation, proof)
    VALUES (current_setting('somagent.tenant', true), key_id, key_hash, holder, held, ends, confirming,
            coalesce(signed, ''));
END $$;

-- Sign the record of a key from before proofs. Returns whether it was one.
CREATE FUNCTION key_sign(key_id text, signed text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE api_keys SET proof = signed WHERE id = key_id AND proof IS NULL;
    RETURN FOUND;
END $$;

-- End a key, and every family that was opened with it, in so many seconds: 0 revokes them now. Returns whether the key
-- could still be used.
CREATE FUNCTION key_end(key_id text, by text, why text, seconds integer) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    moment timestamptz := clock_timestamp() + make_interval(secs => greatest(seconds, 0));
    family text;
BEGIN
    IF seconds > 0 THEN
        UPDATE api_keys SET expires_at = least(expires_at, moment), reason = why
        WHERE id = key_id AND revoked_at IS NULL AND coalesce(expires_at > clock_timestamp(), true);
        IF FOUND THEN
            UPDATE token_families SET expires_at = least(expires_at, moment) WHERE api_key = key_id;
            RETURN true;
        END IF;
        RETURN false;
    END IF;
    UPDATE api_keys SET revoked_at = moment, revoked_by = by, reason = why WHERE id = key_id AND revoked_at IS NULL;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    FOR family IN SELECT id FROM token_families WHERE api_key = key_id AND revoked_at IS NULL LOOP
        PERFORM family_end(family, by, why);
    END LOOP;
    RETURN true;
END $$;

-- Open a family. It ends no later than the family or the key that it comes from.
CREATE FUNCTION family_open(family_id text, holder text, held text[], came_from text, with_key text, named text,
                            confirming jsonb, ends timestamptz)
RETURNS timestamptz LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    latest timestamptz := ends;
    source token_families;
    source_key api_keys;
BEGIN
    IF NOT EXISTS (SELECT FROM principals WHERE subject = holder AND state = 'active' FOR SHARE) THEN
        RAISE EXCEPTION USING ERRCODE = 'SO409', MESSAGE = format('The principal %L is not active.', holder);
    END IF;
    IF came_from IS NOT NULL THEN
        SELECT * INTO source FROM token_families
        WHERE id = came_from AND subject = holder AND revoked_at IS NULL FOR SHARE;
        IF NOT FOUND THEN
            RAISE EXCEPTION USING ERRCODE = 'SO409', MESSAGE = format('The token family %L has ended.', came_from);
        END IF;
        latest := least(latest, source.expires_at);
    END IF;
    IF with_key IS NOT NULL THEN
        SELECT * INTO source_key FROM api_keys
        WHERE id = with_key AND subject = holder AND revoked_at IS NULL FOR SHARE;
        IF NOT FOUND THEN
            RAISE EXCEPTION USING ERRCODE = 'SO409', MESSAGE = format('The API key %L has ended.', with_key);
        END IF;
        latest := least(latest, source_key.expires_at);
    END IF;
    INSERT INTO token_families (tenant_id, id, subject, capabilities, parent, api_key, client, confirmation, expires_at)
    VALUES (current_setting('somagent.tenant', true), family_id, holder, held, came_from, with_key, named, confirming,
            latest);
    RETURN latest;
END $$;

-- Take a refresh token of a family: its next generation is then the only one that counts. A generation that was taken
-- before ends the family. Returns renewed, reused, revoked, expired or unknown; it raises nothing, so that the end of a
-- family is committed.
CREATE FUNCTION family_renew(family_id text, presented integer) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    known token_families;
BEGIN
    SELECT * INTO known FROM token_families WHERE id = family_id FOR UPDATE;
    IF NOT FOUND THEN
        RETURN 'unknown';
    ELSIF known.revoked_at IS NOT NULL THEN
        RETURN 'revoked';
    ELSIF known.expires_at <= clock_timestamp() THEN
        RETURN 'expired';
    ELSIF known.generation <> presented THEN
        PERFORM family_end(family_id, known.subject, 'a refresh token was used twice');
        RETURN 'reused';
    END IF;
    UPDATE token_families SET generation = generation + 1, renewed_at = clock_timestamp() WHERE id = family_id;
    RETURN 'renewed';
END $$;

-- Revoke a family and all that were opened from it. Returns how many could still be used.
CREATE FUNCTION family_end(family_id text, by text, why text) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    ended integer;
BEGIN
    WITH RECURSIVE below AS (
        SELECT id FROM token_families WHERE id = family_id
        UNION SELECT child.id FROM token_families AS child JOIN below ON child.parent = below.id
    )
    UPDATE token_families SET revoked_at = clock_timestamp(), revoked_by = by, reason = why
    WHERE id IN (SELECT id FROM below) AND revoked_at IS NULL;
    GET DIAGNOSTICS ended = ROW_COUNT;
    RETURN ended;
END $$;

-- Revoke every key and family of a principal, or of the whole tenant. Returns how many could still be used.
CREATE FUNCTION credentials_end(holder text, by text, why text) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    keys integer;
    families integer;
BEGIN
    UPDATE api_keys SET revoked_at = clock_timestamp(), revoked_by = by, reason = why
    WHERE revoked_at IS NULL AND (holder IS NULL OR subject = holder);
    GET DIAGNOSTICS keys = ROW_COUNT;
    UPDATE token_families SET revoked_at = clock_timestamp(), revoked_by = by, reason = why
    WHERE revoked_at IS NULL AND (holder IS NULL OR subject = holder);
    GET DIAGNOSTICS families = ROW_COUNT;
    RETURN keys + families;
END $$;

-- All that decides whether a caller is let in, in one round trip: its tenant, its principal, and the family or the API
-- key that it shows. A key is named by its hash, or by its id in a token that came from it.
CREATE FUNCTION identity_resolve(tenant text, holder text, family_id text, key_id text, key_hash text) RETURNS json
LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    shown api_keys;
    family token_families;
BEGIN
    PERFORM set_config('somagent.tenant', tenant, true);
    SELECT * INTO shown FROM api_keys WHERE hash = key_hash OR id = key_id;
    SELECT * INTO family FROM token_families WHERE id = family_id;
    RETURN json_build_object(
        'now', extract(epoch FROM clock_timestamp()),
        'tenant', (SELECT json_build_object('state', state, 'version', version, 'proof', proof)
                   FROM tenants WHERE id = tenant),
        'principal', (SELECT json_build_object('tenant', tenant_id, 'subject', subject, 'capabilities', capabilities,
                                               'state', state, 'version', version, 'proof', proof)
                      FROM principals WHERE subject = coalesce(holder, shown.subject)),
        'key', CASE WHEN shown.hash IS NOT NULL THEN json_build_object(
            'tenant', shown.tenant_id, 'id', shown.id, 'hash', shown.hash, 'subject', shown.subject,
            'capabilities', shown.capabilities, 'expires_at', extract(epoch FROM shown.expires_at),
            'revoked_at', extract(epoch FROM shown.revoked_at), 'confirmation', shown.confirmation,
            'proof', shown.proof) END,
        'family', CASE WHEN family.id IS NOT NULL THEN json_build_object(
            'id', family.id, 'subject', family.subject, 'capabilities', family.capabilities,
            'generation', family.generation, 'api_key', family.api_key, 'confirmation', family.confirmation,
            'expires_at', extract(epoch FROM family.expires_at),
            'revoked_at', extract(epoch FROM family.revoked_at), 'reason', family.reason) END);
END $$;

-- Lock the principals who lend something to `holder`, so that what they hold stays while a decision depends on it. The
-- application's role may not lock rows that it may not write.
CREATE FUNCTION delegators_lock(holder text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM 1 FROM principals WHERE subject IN (SELECT delegator FROM delegations WHERE delegate = holder)
    ORDER BY subject FOR SHARE;
END $$;

GRANT EXECUTE ON FUNCTION principal_put, tenant_put, key_add, key_sign, key_end, family_open, family_renew, family_end,
    credentials_end, delegators_lock, identity_resolve TO somagent_app;
