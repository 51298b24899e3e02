-- Close a run: close its account, which returns the rest to the parent; make its row final; append the last receipt.

CREATE FUNCTION run_close(closing jsonb, output_text json) RETURNS json LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    run_id text := closing->>'run';
    ending runs;
    account budget_accounts;
    spent amounts := amounts_none();
    receipt json;
BEGIN
    PERFORM set_config('somagent.tenant', closing->>'tenant', true);
    SELECT * INTO ending FROM runs WHERE id = run_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'SO404', DETAIL = json_build_object('run', run_id),
            MESSAGE = format('There is no run %L to close.', run_id);
    END IF;
    SELECT * INTO account FROM budget_accounts WHERE id = 'run:' || run_id;
    IF FOUND THEN
        PERFORM clock_end(account.id, (closing->>'seconds')::bigint);
        PERFORM account_close(account.id);
        SELECT * INTO account FROM budget_accounts WHERE id = account.id;
        spent := (account.spent_tokens, account.spent_micro_usd, account.spent_tool_calls)::amounts;
    END IF;
    IF ending.closed_at IS NULL THEN
        UPDATE effects SET state = 'charged', finished_at = clock_timestamp(),
            error = 'It never reported: it may have taken effect.'
        WHERE run = run_id AND state = 'started';
        UPDATE approvals SET state = 'expired' WHERE run = run_id AND state = 'pending';
        receipt := receipt_append(run_id, 'outcome', 'run.close', 1,
            (closing->'parts') || jsonb_build_object('spent', canonical_amounts(spent)));
        UPDATE runs SET status = closing->>'status', reason = closing->>'reason', output = output_text,
            artifact = closing->>'artifact', account = account.id,
            step = greatest(step, coalesce((closing->>'step')::integer, 0)), closed_at = clock_timestamp()
        WHERE id = run_id;
        PERFORM event_add('agent.events', 'run.closed', run_id, json_build_object(
            'status', closing->>'status', 'reason', closing->>'reason', 'artifact', closing->>'artifact',
            'spent', amounts_json(spent), 'receipt', receipt));
    END IF;
    SELECT * INTO ending FROM runs WHERE id = run_id;
    RETURN json_build_object('spent', amounts_json(spent), 'receipts', ending.receipt_seq, 'head', ending.receipt_head);
END $$;
