"""The gate's side of the database: ledger, decisions of people, open effects, and the projection of runs."""
