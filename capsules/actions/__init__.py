"""Actions: one effect a run wants, the verdict about it, and the messages between gate and ledger."""
