-- Past decisions about an actor and past outcomes of a target, for the gate. Each query reads a limited number of rows
-- by an index. A part that is not asked for (null) is not queried.

-- The number of decisions in the actor's last 100 runs (`of`), and of denials among them (`bad`).
CREATE FUNCTION history_decisions(of_actor text) RETURNS json LANGUAGE sql STABLE SECURITY INVOKER AS $$
    SELECT json_build_object('of', coalesce(sum(decisions), 0), 'bad', coalesce(sum(denials), 0))
    FROM (SELECT decisions, denials FROM runs WHERE actor = of_actor ORDER BY created_at DESC LIMIT 100) AS recent
$$;

-- The number of the last effects on the target that have ended, at most 200 (`of`), and of failures among them (`bad`).
CREATE FUNCTION history_uses(of_kind text, of_target text) RETURNS json LANGUAGE sql STABLE SECURITY INVOKER AS $$
    SELECT json_build_object('of', count(*), 'bad', count(*) FILTER (WHERE state <> 'done'))
    FROM (SELECT state FROM effects WHERE kind = of_kind AND target = of_target AND state <> 'started'
          ORDER BY started_at DESC LIMIT 200) AS recent
$$;

CREATE FUNCTION gate_history(asked jsonb) RETURNS json LANGUAGE plpgsql STABLE SECURITY INVOKER AS $$
DECLARE
    found jsonb := '{}';
BEGIN
    IF asked->>'actor' IS NOT NULL THEN
        found := found || jsonb_build_object('decisions', history_decisions(asked->>'actor'));
    END IF;
    IF asked->>'target' IS NOT NULL THEN
        found := found || jsonb_build_object('uses', history_uses(asked->>'kind', asked->>'target'));
    END IF;
    RETURN found;
END $$;
