"""Migrations: each revision is a Python file of a few lines and, beside it, its SQL.

The SQL of a released revision is never edited. `somagent/db/schema/sql` shows what all of them together make of an
empty database, by subject; `tests/integration/somagent/db/test_migrations.py` holds both together.
"""
