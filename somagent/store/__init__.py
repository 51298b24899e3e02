"""The store: PostgreSQL, one transaction for one tenant at a time. No mocks: real rows or an error.

Nothing outside this package sees a row or a driver's error. What must be true under concurrency (budgets, receipts,
approvals, the gate) is decided by the database itself, in `sql/`.
"""
