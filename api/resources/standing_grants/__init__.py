"""Standing grants: approvals in advance."""
