"""The relay process: outbox, notifications, reconciliation of runs."""
