"""Notification deliveries and a test of the channels."""
