"""Put the sessions of one job side by side.

May import `statistics`, and the files of `analysis` below it (`steps`, …).
"""
