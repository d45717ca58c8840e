"""Fold a session's events into one table of phases and devices.

May import `statistics`, `_native`, the files of `analysis` below it, and `text` when somebody prints a summary.
"""
