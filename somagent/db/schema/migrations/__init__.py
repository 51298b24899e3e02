"""Migrations: each revision is a short Python file and the SQL file beside it.

The SQL of a released revision is never edited. `somagent/db/schema/sql` shows, by subject, what all revisions together
make of an empty database; `tests/integration/somagent/db/test_migrations.py` compares the two.
"""
