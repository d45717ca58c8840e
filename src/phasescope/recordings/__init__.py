"""Durable files of a session's events: one format a file, one reader for all that can be read back.

May import `readers`, `wire`, `analysis` and the ground.
"""
