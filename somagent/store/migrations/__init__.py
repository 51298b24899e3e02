"""Migrations, each in plain SQL: what the database is, said in its own language."""
