-- What the application's role may call. Whatever it changes, it changes by these functions. They run with the owner's
-- rights and a fixed search path, and row-level security limits them to the tenant of the setting somagent.tenant.
DO $$
DECLARE
    entry regprocedure;
BEGIN
    FOREACH entry IN ARRAY ARRAY[
        'gate_facts(text,text,text,text,jsonb)', 'gate_begin(jsonb)', 'gate_finish(jsonb,json)',
        'run_lock(text)', 'run_accept(jsonb,json)', 'run_enrol(jsonb,json,json)', 'run_admit(text,text,text,text,json)',
        'run_record(text,text,text,integer)', 'run_close(jsonb,json)',
        'account_open(text,jsonb)', 'account_carve(text,text,jsonb)', 'run_carve(text,text,jsonb,bigint)',
        'account_close(text)', 'account_raise(text,jsonb,text,text)', 'account_allow(text,text,jsonb,text)',
        'account_give_credit(text,jsonb,text,text)', 'account_retire(text)', 'account_conservation()', 'period_begin(text)',
        'event_publish(text,text,text,json)', 'audit_add(text,text,text,text)', 'approval_edited(text,jsonb)',
        'retention_due()'
    ]::regprocedure[] LOOP
        EXECUTE format('ALTER FUNCTION %s SECURITY DEFINER SET search_path = public, pg_temp', entry);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO somagent_app', entry);
    END LOOP;
    -- Functions that run with the owner's rights see no object of their caller's.
    FOR entry IN SELECT oid FROM pg_proc WHERE prosecdef AND pronamespace = current_schema()::regnamespace
                 AND proowner = (SELECT oid FROM pg_roles WHERE rolname = current_user) LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = public, pg_temp', entry);
    END LOOP;
END $$;

-- For queries of the audit: pure functions of a row.
GRANT EXECUTE ON FUNCTION ledger_columns(ledger_entries), run_body(runs), canonical_text(text), canonical_amounts(amounts),
    canonical_time(timestamptz), digest_text(text) TO somagent_app;
-- For the constraints of approvals, which the application's role changes.
GRANT EXECUTE ON FUNCTION approval_satisfied(jsonb, jsonb), approval_duties(text, jsonb) TO somagent_app;
GRANT EXECUTE ON FUNCTION constitution_of(text, text), constitution_activation(text, text) TO somagent_app;
GRANT EXECUTE ON FUNCTION seal_waiting(), seal_take(text, bigint, bigint, integer) TO somagent_sealer;
