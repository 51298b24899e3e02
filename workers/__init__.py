"""Worker, relay and sealer processes, with their composition root and task queues."""
