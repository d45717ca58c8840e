"""The views for people: terminal, web page, report. The training never notices.

May import `_attach`, `recordings`, `readers`, `analysis`, `wire` and the ground; never `capture` or `backends`.
"""
