"""Proofs with Z3: guarantees, differences, explanations, overlays, intervals."""
