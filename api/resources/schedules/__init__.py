"""Schedules that start runs by time."""
