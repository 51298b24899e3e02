"""Messaging: streams of events and reply pieces in Valkey. All of it may be lost, because the outbox is the record."""
