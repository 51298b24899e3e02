-- Retention terms of a tenant, and legal holds, which override them.

CREATE TABLE retention (
    tenant_id text PRIMARY KEY REFERENCES tenants (id),
    content_days integer CHECK (content_days BETWEEN 1 AND 36500),
    memory_days integer CHECK (memory_days BETWEEN 1 AND 36500),
    set_by text NOT NULL,
    set_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE legal_holds (
    tenant_id text NOT NULL REFERENCES tenants (id),
    id text NOT NULL,
    -- `tenant`, `capsule:<name>`, or `run:<id>`, which covers the runs below it
    scope text NOT NULL CHECK (scope = 'tenant' OR scope LIKE 'capsule:_%' OR scope LIKE 'run:_%'),
    reason text NOT NULL,
    placed_by text NOT NULL,
    placed_at timestamptz NOT NULL DEFAULT now(),
    lifted_by text,
    lifted_at timestamptz,
    PRIMARY KEY (tenant_id, id),
    CHECK ((lifted_at IS NULL) = (lifted_by IS NULL))
);
