"""Actions: the effects that runs ask for, verdicts about them, and the messages between gate and ledger."""
