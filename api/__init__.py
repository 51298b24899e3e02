"""HTTP API: authenticates callers, checks capabilities, calls the other packages. It contains no rule of the domain."""
