"""Constitutions: proposals and activation, proofs, differences and reviews."""
