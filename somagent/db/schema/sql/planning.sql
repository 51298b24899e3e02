-- What the planner is to suppose before it has seen the tables: that all rows are one tenant's. Without that, a look-up by
-- key and a reading of all that a tenant has would cost the same in its eyes, and what it chose would stay for the life of
-- a connection. The first ANALYZE, autovacuum's mostly, replaces this by what is there.
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
