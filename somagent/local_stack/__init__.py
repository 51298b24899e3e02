"""The local stack: real servers from wheels, which one supervisor starts, watches and stops.

No mocks: PostgreSQL, Valkey, Temporal and llama.cpp here are the programs that run in production, on loopback.
"""
