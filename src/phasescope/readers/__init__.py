"""Readers of a ring, live or after its process ended, and callbacks fed by them; nothing here writes.

May import `wire`, `analysis` and the ground.
"""
