-- Forecasts: the expected usage of each run at its admission. The real usage is in its account.

CREATE TABLE forecasts (
    tenant_id text NOT NULL,
    run text NOT NULL,
    capsule text NOT NULL,
    model text NOT NULL,
    shape json NOT NULL,
    forecast json NOT NULL,
    made_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, run),
    FOREIGN KEY (tenant_id, run) REFERENCES runs (tenant_id, id)
);
CREATE INDEX forecasts_by_capsule ON forecasts (tenant_id, capsule, model, made_at DESC);
