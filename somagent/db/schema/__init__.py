"""Database schema: the tables as queries see them, the SQL by subject, and the migrations."""
