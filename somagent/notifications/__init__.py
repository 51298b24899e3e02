"""Notifications: messages to people about events, by webhook and e-mail. They decide nothing and take no answers."""
