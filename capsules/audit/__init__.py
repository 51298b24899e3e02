"""Audit: receipts, audit blocks, Merkle trees, evidence, and their verification."""
