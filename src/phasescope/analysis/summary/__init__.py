"""Fold a session's events into one table of phases and devices."""
