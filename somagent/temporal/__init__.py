"""Temporal configuration shared by clients, workers and replayers: converter, codec, sandbox, plugin."""
