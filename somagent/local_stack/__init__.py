"""The local stack: real servers from wheels, which one supervisor starts, watches and stops.

No mocks: PostgreSQL, Valkey, Temporal and llama.cpp are the same programs as in production, on loopback.
"""
