"""Runs: how one starts, its state, its report, and the lock of everything it depends on."""
