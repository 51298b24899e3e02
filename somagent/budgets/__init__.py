"""Rate windows: at most so many tokens and calls in any sixty seconds, in Valkey, rebuilt from the ledger when lost."""
