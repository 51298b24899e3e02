"""Audit entries, audit blocks and inclusion proofs."""
