"""One Temporal configuration for client, worker, schedules and replayer: converter, codec, sandbox, plugin."""
