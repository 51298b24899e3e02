-- Workflows that were open when payloads were first bound to their workflow. Only theirs decode without a binding.
CREATE TABLE codec_cut_over (
    workflow text PRIMARY KEY,
    at timestamptz NOT NULL
);
GRANT SELECT ON codec_cut_over TO somagent_app, somagent_relay;
