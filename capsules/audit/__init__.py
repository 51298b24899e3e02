"""The audit: receipts, audit blocks, Merkle trees, evidence, and the checks that recompute them."""
