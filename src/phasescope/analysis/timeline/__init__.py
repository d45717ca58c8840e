"""A session over time, as plots need it.

May import the files of `analysis` below it (`categories`, `spans`, …).
"""
