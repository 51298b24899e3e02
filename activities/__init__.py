"""Effects that a workflow may ask for, by port. Imports `capsules` only; adapters are injected by the worker."""
