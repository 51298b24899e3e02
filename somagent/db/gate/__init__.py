"""The database side of the gate: ledger, decisions of people, and the projection of runs."""
