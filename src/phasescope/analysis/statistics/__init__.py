"""Quantiles, trends and the bounds of both.

May import `_native` only: numbers in, numbers out.
"""
