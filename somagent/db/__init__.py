"""PostgreSQL adapter: schema, repositories, and the gate's transactions. Rows of tables never leave this package."""
