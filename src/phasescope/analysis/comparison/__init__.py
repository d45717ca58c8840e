"""Compare two sessions, with their noise, and judge rules about the difference.

May import `diagnosis`, `statistics`, and the files of `analysis` below it (`event_fields`, …).
"""
