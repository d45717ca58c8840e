"""Bring the figures of live sessions to where teams look: one protocol a file, each a reader in a process of its own.

May import `readers`, `wire`, `analysis` and the ground.
"""
