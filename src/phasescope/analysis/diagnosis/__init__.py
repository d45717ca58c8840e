"""Explain what went wrong: endings, causes, growth, and what to try.

May import `summary`, `statistics`, and the files of `analysis` below it (`devices`, `breakdown`, `steps`, …).
"""
