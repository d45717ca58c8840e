"""How memory grows with the batch, the largest batch that fits a device, and what would save how much of it.

May import the files of `analysis` below it (`devices`, `categories`, `steps`, …).
"""
