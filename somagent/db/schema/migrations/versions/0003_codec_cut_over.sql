-- Workflows that were open when payloads were first bound to their workflow. Only theirs decode without a binding.
CREATE TABLE codec_cut_over (
    workflow text PRIMARY KEY,
    at timestamptz NOT NULL
);
GRANT SELECT ON codec_cut_over TO somagent_app, somagent_relay;

-- The owner reads the rows of all tenants for this statement only.
ALTER TABLE runs NO FORCE ROW LEVEL SECURITY;
ALTER TABLE constitution_proposals NO FORCE ROW LEVEL SECURITY;
INSERT INTO codec_cut_over (workflow, at)
SELECT coalesce(lock -> 'application' ->> 'workflow_id', id), now() FROM runs WHERE closed_at IS NULL
UNION
SELECT tenant_id || '/_constitution/' || id, now() FROM constitution_proposals
WHERE state NOT IN ('activated', 'refused', 'rejected', 'expired');
ALTER TABLE runs FORCE ROW LEVEL SECURITY;
ALTER TABLE constitution_proposals FORCE ROW LEVEL SECURITY;
