"""Adapters to the outside (database, models, memory, bus, keys, Temporal), settings, local stack and CLI."""
