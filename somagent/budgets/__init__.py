"""Rate limits: windows of sixty seconds in Valkey with the tokens and calls of an account, rebuilt from the ledger."""
