"""Constitutions as they are changed: proposals, proofs, differences and reviews."""
