"""Quantiles, trends and the bounds of both."""
