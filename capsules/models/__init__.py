"""Model calls: messages, requests, replies, transcripts, and the ports for models."""
