"""The schema: tables as queries see them, SQL functions, migrations."""
