"""Decisions: verdicts about actions, by articles, approval rules and the score."""
