-- Standing grants: approvals in advance for a number of actions of a proved scope.

-- The grants that can be used now under a constitution. If the granter is a principal who is suspended or has not the
-- capability, none can.
CREATE FUNCTION standing_open(wanted text) RETURNS SETOF standing_grants
LANGUAGE sql STABLE SECURITY INVOKER AS $$
    SELECT given.* FROM standing_grants AS given
    WHERE given.constitution = wanted AND given.revoked_at IS NULL AND given.uses_left > 0
      AND given.expires_at > clock_timestamp()
      AND NOT EXISTS (SELECT FROM principals
                      WHERE subject = given.granted_by AND (principals.state <> 'active'
                                                            OR given.capability <> ALL (principals.capabilities)))
$$;

-- The usable grants as JSON for the gate. At most 50 can be open (`MOST_OPEN`), so the limit leaves none out.
CREATE FUNCTION standing_facts(wanted text) RETURNS json LANGUAGE sql STABLE SECURITY INVOKER AS $$
    SELECT coalesce(json_agg(json_build_object(
        'id', id, 'scope', scope, 'capability', capability, 'granted_by', granted_by) ORDER BY expires_at, id), '[]')
    FROM (SELECT * FROM standing_open(wanted) ORDER BY expires_at, id LIMIT 50) AS few
$$;

-- Whether the attestation of a grant was verified, with the values that its row has now.
CREATE FUNCTION standing_proved(entry jsonb, given standing_grants) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM jsonb_array_elements(entry #> '{proved,grants}') AS proved
                   WHERE proved->>'id' = given.id AND to_jsonb(given) @> proved)
$$;

-- The grant for an effect: the one that an earlier attempt used, unless it was revoked; else the first offered grant
-- with a use left, its row locked. Only a grant whose attestation was verified. NULL when people were asked about this
-- action, or denied or edited it: their answer counts.
CREATE FUNCTION gate_standing(entry jsonb) RETURNS standing_grants LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    found_grant standing_grants;
    offered text;
BEGIN
    SELECT given.* INTO found_grant FROM standing_uses AS used JOIN standing_grants AS given ON given.id = used.standing
    WHERE used.effect = entry->>'effect' AND used.action = entry->>'action_digest' AND given.revoked_at IS NULL;
    IF standing_proved(entry, found_grant) THEN
        RETURN found_grant;
    END IF;
    IF EXISTS (SELECT FROM approvals WHERE run = entry->>'run' AND action = entry->>'action_digest'
               AND (state IN ('denied', 'edited') OR (state = 'pending' AND expires_at > clock_timestamp()))) THEN
        RETURN NULL;
    END IF;
    FOR offered IN SELECT jsonb_array_elements_text(coalesce(entry->'standing', '[]')) LOOP
        PERFORM 1 FROM standing_grants WHERE id = offered FOR NO KEY UPDATE;
        -- Read anew after the lock was waited for: the last use may be gone.
        SELECT * INTO found_grant FROM standing_open(entry->>'constitution')
        WHERE id = offered AND granted_by <> entry->>'actor'
          AND uses > (SELECT count(*) FROM standing_uses WHERE standing = offered);
        IF FOUND AND standing_proved(entry, found_grant) THEN
            RETURN found_grant;
        END IF;
    END LOOP;
    RETURN NULL;
END $$;

-- Use a grant for an effect that begins now. A retry of the effect does not use it again.
CREATE FUNCTION standing_take(entry jsonb, taken standing_grants) RETURNS void LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    remaining integer;
BEGIN
    INSERT INTO standing_uses (tenant_id, effect, standing, run, action, used_at)
    VALUES (entry->>'tenant', entry->>'effect', taken.id, entry->>'run', entry->>'action_digest', clock_timestamp())
    ON CONFLICT DO NOTHING;
    IF FOUND THEN
        UPDATE standing_grants SET uses_left = uses_left - 1 WHERE id = taken.id RETURNING uses_left INTO remaining;
        PERFORM event_add('approval.events', 'grant.used', entry->>'run', json_build_object(
            'grant', taken.id, 'granted_by', taken.granted_by, 'uses_left', remaining,
            'action', entry->>'action_digest', 'kind', entry->>'kind', 'target', entry->>'target'));
    END IF;
END $$;
