-- Approvals, as the gate opens them. `somagent/db/repositories/approvals.py` writes the answers of people. A constraint
-- of the table checks that they suffice.

-- Open an approval of the action of `entry`. With the answers `said` it may be approved at once.
CREATE FUNCTION approval_open(entry jsonb, why text, original text, said jsonb) RETURNS approvals
LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    moment timestamptz := clock_timestamp();
    enough boolean := approval_satisfied(entry->'demands', said);
    expiry timestamptz := moment + make_interval(secs => (entry->>'expires_seconds')::double precision);
    opened approvals;
BEGIN
    INSERT INTO approvals (tenant_id, id, run, action, kind, target, sentence, demands, escalation, requested_by,
                           requested_at, expires_at, answers, state, decided_by, decided_at, edited_from)
    VALUES (entry->>'tenant', gen_random_uuid()::text, entry->>'run', entry->>'action_digest', entry->>'kind',
            entry->>'target', why, entry->'demands', approval_groups(entry->'escalation', moment, expiry),
            entry->>'actor', moment, expiry, said, CASE WHEN enough THEN 'approved' ELSE 'pending' END,
            CASE WHEN enough THEN said->-1->>'by' END, CASE WHEN enough THEN moment END, original)
    RETURNING * INTO opened;
    IF NOT enough THEN
        PERFORM event_add('approval.events', 'approval.requested', opened.run, json_build_object(
            'approval', opened.id, 'action', opened.action, 'kind', opened.kind, 'target', opened.target,
            'sentence', opened.sentence, 'demands', opened.demands, 'escalation', opened.escalation,
            'requested_by', opened.requested_by, 'expires_at', opened.expires_at));
    END IF;
    RETURN opened;
END $$;

-- The escalation groups with the time from which each may decide, in order of time, without those after the expiry.
CREATE FUNCTION approval_groups(steps jsonb, moment timestamptz, expiry timestamptz) RETURNS jsonb
LANGUAGE sql STABLE AS $$
    SELECT coalesce(jsonb_agg(jsonb_build_object('capability', step->>'capability', 'at', at) ORDER BY at, ordinal), '[]')
    FROM jsonb_array_elements(steps) WITH ORDINALITY AS listed (step, ordinal),
         LATERAL (SELECT moment + make_interval(secs => (step->>'after_seconds')::double precision) AS at) AS timed
    WHERE at < expiry
$$;

-- The approval as JSON, for the run that waits for it.
CREATE FUNCTION approval_request(asked approvals) RETURNS json LANGUAGE sql STABLE AS $$
    SELECT json_build_object(
        'id', asked.id, 'run', asked.run, 'action', asked.action, 'kind', asked.kind, 'target', asked.target,
        'sentence', asked.sentence, 'capability', asked.demands->0->>'capability', 'demands', asked.demands,
        'escalation', asked.escalation, 'requested_by', asked.requested_by, 'expires_at', asked.expires_at)
$$;

-- If a person edited another action into this one, open its approval with the yes of the editor. That yes counts for
-- one demand only, so an editor alone suffices only where one yes is demanded.
CREATE FUNCTION approval_of_edit(entry jsonb) RETURNS void LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    original approvals;
    edit jsonb;
    counts text;
BEGIN
    SELECT * INTO original FROM approvals
    WHERE run = entry->>'run' AND edited_to = entry->>'action_digest' AND expires_at > clock_timestamp()
      AND NOT EXISTS (SELECT FROM approvals AS later WHERE later.edited_from = approvals.id)
      AND NOT EXISTS (SELECT FROM approvals AS later WHERE later.run = approvals.run AND later.state = 'pending'
                                                      AND later.action = approvals.edited_to)
    ORDER BY decided_at LIMIT 1;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    edit := original.answers->-1;
    SELECT demand->>'capability' INTO counts
    FROM jsonb_array_elements(entry->'demands') WITH ORDINALITY AS listed (demand, ordinal)
    WHERE edit->'capabilities' ? (demand->>'capability') ORDER BY ordinal LIMIT 1;
    PERFORM approval_open(entry, entry->>'sentence', original.id, CASE WHEN counts IS NULL THEN '[]' ELSE
        jsonb_build_array(edit || jsonb_build_object(
            'said', 'yes', 'escalated', false, 'capabilities', jsonb_build_array(counts))) END);
END $$;

-- Who said yes, as canonical JSON, for the receipt of the action that the approval allowed.
CREATE FUNCTION approval_approvers(answers jsonb) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT '[' || coalesce(string_agg(format('{"by":%s,"on_behalf_of":%s}', canonical_text(answer->>'by'),
                                             canonical_text(answer->>'on_behalf_of')), ',' ORDER BY ordinal), '') || ']'
    FROM jsonb_array_elements(answers) WITH ORDINALITY AS listed (answer, ordinal) WHERE answer->>'said' = 'yes'
$$;

-- Append the receipt of an edit to the chain of its run. Raises SO409 unless the approval is edited.
CREATE FUNCTION approval_edited(approval_id text, parts jsonb) RETURNS void LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    edited approvals;
BEGIN
    SELECT * INTO edited FROM approvals WHERE id = approval_id AND state = 'edited';
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'SO409', DETAIL = json_build_object('approval', approval_id),
            MESSAGE = format('Approval %L was not edited.', approval_id);
    END IF;
    PERFORM receipt_append(edited.run, 'outcome', 'approval.edit', 1, parts || jsonb_build_object(
        'action_digest', canonical_text(edited.action), 'approval', canonical_text(edited.id),
        'edited_by', canonical_text(edited.decided_by), 'edited_to', canonical_text(edited.edited_to)));
END $$;

-- The digests of the attestations that said yes, as canonical JSON.
CREATE FUNCTION approval_attestations(answers jsonb) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT '[' || coalesce(string_agg(canonical_text(answer->>'attestation'), ',' ORDER BY ordinal), '') || ']'
    FROM jsonb_array_elements(answers) WITH ORDINALITY AS listed (answer, ordinal) WHERE answer->>'said' = 'yes'
$$;
