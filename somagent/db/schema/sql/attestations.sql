-- Attestations: the signed tokens of people's decisions, each recorded once, with the decision that it is for.

-- The claims of a token, as they were signed. The signature is checked by the processes that use the decision: they hold
-- the issuer's public keys.
CREATE FUNCTION attestation_claims(token text) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT convert_from(decode(rpad(translate(part, '-_', '+/'), (length(part) + 3) / 4 * 4, '='), 'base64'), 'UTF8')::jsonb
    FROM split_part(token, '.', 2) AS part
$$;

-- Record an attestation in the transaction of its decision, and return its digest. The same token again is a retry: it
-- returns the digest and the caller changes nothing. It runs with the owner's rights, so that the columns are what the
-- token says, and the time is the database's own.
CREATE FUNCTION attestation_use(used_token text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    claims jsonb := attestation_claims(used_token);
    body jsonb := claims->'body';
    moment timestamptz := clock_timestamp();
    known attestations;
BEGIN
    IF body->>'tenant' IS DISTINCT FROM current_setting('somagent.tenant', true) THEN
        RAISE EXCEPTION USING ERRCODE = 'SO409', MESSAGE = format(
            'The attestation is of tenant %L, not of this one.', body->>'tenant');
    END IF;
    INSERT INTO attestations (tenant_id, id, purpose, subject, run, record, token, digest, used_at)
    SELECT body->>'tenant', claims->>'jti', body->>'purpose', body->>'subject', body->>'run',
           coalesce(body->>'approval', body->>'record', body->>'run'), used_token, digest_text(used_token), moment
    WHERE to_timestamp((claims->>'exp')::double precision + 2) >= moment
    ON CONFLICT DO NOTHING;
    SELECT * INTO known FROM attestations WHERE id = claims->>'jti';
    IF known.id IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'SO409', MESSAGE = 'The attestation has expired: decide again.';
    END IF;
    IF known.token <> used_token THEN
        RAISE EXCEPTION USING ERRCODE = 'SO409', MESSAGE = format(
            'The attestation %L was used already, for another decision. Decide again.', known.id);
    END IF;
    RETURN known.digest;
END $$;
REVOKE ALL ON FUNCTION attestation_use(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION attestation_use(text) TO somagent_app;
GRANT SELECT ON attestations, approval_uses, legacy_decisions TO somagent_app;

-- Record that an approval lets an effect begin, once for each approval and at the database's own time. Only the gate's
-- function calls it, with the owner's rights.
CREATE FUNCTION approval_use(used_approval text, for_effect text) RETURNS void
LANGUAGE sql SECURITY INVOKER AS $$
    INSERT INTO approval_uses (tenant_id, approval, effect, used_at)
    VALUES (current_setting('somagent.tenant'), used_approval, for_effect, clock_timestamp()) ON CONFLICT DO NOTHING
$$;
REVOKE ALL ON FUNCTION approval_use(text, text) FROM PUBLIC;

-- The attestations about these records, as the process that verifies them needs them.
CREATE FUNCTION attestations_of(VARIADIC records text[]) RETURNS json LANGUAGE sql STABLE AS $$
    SELECT coalesce(json_agg(json_build_object('token', token, 'used_at', used_at) ORDER BY used_at, id), '[]')
    FROM attestations WHERE record = ANY (records)
$$;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['attestations', 'approval_uses', 'legacy_decisions'] LOOP
        EXECUTE format('CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION refuse_change()', name);
        EXECUTE format('CREATE TRIGGER never_emptied BEFORE TRUNCATE ON %I EXECUTE FUNCTION refuse_change()', name);
    END LOOP;
END $$;
