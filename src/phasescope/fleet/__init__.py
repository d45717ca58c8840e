"""Read a dataset of many ranks: which sessions it has, and what an engine sums up of them without reading them here.

May import `recordings`, `readers`, `wire` and `analysis`; DuckDB only on request.
"""
