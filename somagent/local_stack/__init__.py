"""The local stack: real servers from wheels, started, watched and stopped by one supervisor.

No mocks: PostgreSQL, Valkey, Temporal and llama.cpp here are the programs that run in production, on loopback.
"""
