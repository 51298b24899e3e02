"""The processes: composition root, queues, outbox relay. Builds every adapter; nothing else constructs a client."""
