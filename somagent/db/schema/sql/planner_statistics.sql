-- Planner statistics for empty tables: all rows belong to one tenant. Without them the planner estimates the same cost
-- for a look-up by key and for a scan of all rows of a tenant, and a connection keeps the plan that it chose first. The
-- first ANALYZE, usually by autovacuum, replaces these statistics.
DO $$
DECLARE
    name text;
BEGIN
    FOR name IN
        SELECT relation.relname FROM pg_class AS relation
        JOIN pg_attribute AS attribute ON attribute.attrelid = relation.oid AND attribute.attname = 'tenant_id'
        WHERE relation.relnamespace = current_schema()::regnamespace AND relation.relkind = 'r'
    LOOP
        PERFORM pg_restore_attribute_stats(
            'schemaname', current_schema()::text, 'relname', name, 'attname', 'tenant_id', 'inherited', false,
            'null_frac', 0::real, 'avg_width', 16, 'n_distinct', 1::real);
    END LOOP;
END $$;
