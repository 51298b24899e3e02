"""Alembic's entry point: runs the migrations on the connection that `somagent.db.schema.migrate` opened."""

from alembic import context

connection = context.config.attributes.get("connection")
if connection is None:
    raise RuntimeError("Migrations run by `somagent.db.schema.migrate.upgrade(owner_url)`, not by the alembic command.")
context.configure(connection=connection)
with context.begin_transaction():
    context.run_migrations()
