-- Invariants of the ledger: one row for each violation in the tenant's accounts, with the expected and the found
-- amount.

CREATE FUNCTION account_conservation() RETURNS TABLE (account text, dimension text, law text, expected bigint, found bigint)
LANGUAGE sql STABLE SECURITY INVOKER AS $$
    WITH balances AS (
        SELECT one.id, one.closed_at, told.*
        FROM budget_accounts AS one CROSS JOIN LATERAL (VALUES
            ('tokens', limit_tokens, spent_tokens, reserved_tokens, overrun_tokens),
            ('micro_usd', limit_micro_usd, spent_micro_usd, reserved_micro_usd, overrun_micro_usd),
            ('tool_calls', limit_tool_calls, spent_tool_calls, reserved_tool_calls, overrun_tool_calls)
        ) AS told (dimension, bound, spent, reserved, overrun)
    ), entries AS (
        SELECT entry.account AS id, told.dimension, sum(told.bound)::bigint AS bound, sum(told.spent)::bigint AS spent,
               sum(told.reserved)::bigint AS reserved
        FROM ledger_entries AS entry CROSS JOIN LATERAL (VALUES
            ('tokens', limit_tokens, spent_tokens, reserved_tokens),
            ('micro_usd', limit_micro_usd, spent_micro_usd, reserved_micro_usd),
            ('tool_calls', limit_tool_calls, spent_tool_calls, reserved_tool_calls)
        ) AS told (dimension, bound, spent, reserved)
        GROUP BY entry.account, told.dimension
    ), children AS (
        SELECT parent AS id, told.dimension, sum(told.held)::bigint AS held
        FROM budget_accounts CROSS JOIN LATERAL (VALUES
            ('tokens', limit_tokens), ('micro_usd', limit_micro_usd), ('tool_calls', limit_tool_calls)
        ) AS told (dimension, held)
        WHERE parent IS NOT NULL AND closed_at IS NULL
        GROUP BY parent, told.dimension
    ), effects_open AS (
        SELECT effects.account AS id, told.dimension, sum(told.held)::bigint AS held
        FROM effects CROSS JOIN LATERAL (VALUES
            ('tokens', reserved_tokens), ('micro_usd', reserved_micro_usd), ('tool_calls', reserved_tool_calls)
        ) AS told (dimension, held)
        WHERE state = 'started'
        GROUP BY effects.account, told.dimension
    ), effect_entries AS (
        -- What is held for one effect: what its entries reserved and gave back.
        SELECT entry.account AS id, entry.key, told.dimension, sum(told.reserved)::bigint AS held
        FROM ledger_entries AS entry CROSS JOIN LATERAL (VALUES
            ('tokens', reserved_tokens), ('micro_usd', reserved_micro_usd), ('tool_calls', reserved_tool_calls)
        ) AS told (dimension, reserved)
        WHERE entry.kind IN ('reserve', 'settle', 'charge')
        GROUP BY entry.account, entry.key, told.dimension
    ), effect_rows AS (
        SELECT effects.account AS id, effects.key, told.dimension, told.held
        FROM effects CROSS JOIN LATERAL (VALUES
            ('tokens', reserved_tokens), ('micro_usd', reserved_micro_usd), ('tool_calls', reserved_tool_calls)
        ) AS told (dimension, held)
        WHERE state = 'started'
    )
    SELECT balance.id, balance.dimension, law.name, law.expected, law.found
    FROM balances AS balance
    LEFT JOIN entries USING (id, dimension)
    LEFT JOIN children USING (id, dimension)
    LEFT JOIN effects_open USING (id, dimension)
    CROSS JOIN LATERAL (VALUES
        ('the limit is the sum of its entries', coalesce(entries.bound, 0), balance.bound),
        ('what is spent is the sum of its entries', coalesce(entries.spent, 0), balance.spent),
        ('what is reserved is the sum of its entries', coalesce(entries.reserved, 0), balance.reserved),
        ('what is reserved is what open children and effects hold',
         coalesce(children.held, 0) + coalesce(effects_open.held, 0), balance.reserved),
        ('what is over the limit is the overrun', greatest(0, balance.spent + balance.reserved - balance.bound),
         balance.overrun),
        ('a closed account holds nothing', 0, CASE WHEN balance.closed_at IS NULL THEN 0 ELSE balance.reserved END)
    ) AS law (name, expected, found)
    WHERE law.expected <> law.found
    UNION ALL
    SELECT one.id, 'seconds', law.name, law.expected, law.found
    FROM budget_accounts AS one CROSS JOIN LATERAL (
        SELECT coalesce(sum(spent_seconds), 0)::bigint AS spent, coalesce(sum(reserved_seconds), 0)::bigint AS reserved
        FROM ledger_entries AS entry WHERE entry.account = one.id
    ) AS told CROSS JOIN LATERAL (
        SELECT coalesce(sum(held.reserved_seconds), 0)::bigint AS seconds
        FROM ledger_entries AS held JOIN budget_accounts AS run ON run.id = held.key AND run.closed_at IS NULL
        WHERE held.account = one.id AND held.kind = 'clock'
    ) AS runs CROSS JOIN LATERAL (VALUES
        ('what is worked is the sum of its entries', told.spent, one.spent_seconds),
        ('what is held is the sum of its entries', told.reserved, one.reserved_seconds),
        ('what is held is what open runs may work', runs.seconds, one.reserved_seconds)
    ) AS law (name, expected, found)
    WHERE one.id NOT LIKE 'run:%' AND law.expected <> law.found
    UNION ALL
    SELECT coalesce(entry.id, row.id), coalesce(entry.dimension, row.dimension),
           'an effect holds what its entries reserved: ' || coalesce(entry.key, row.key),
           coalesce(entry.held, 0), coalesce(row.held, 0)
    FROM effect_entries AS entry FULL JOIN effect_rows AS row USING (id, key, dimension)
    WHERE coalesce(entry.held, 0) <> coalesce(row.held, 0)
    ORDER BY 1, 2, 3
$$;
