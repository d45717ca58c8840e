"""`phasescope top`: the sessions of this machine in a terminal. Needs textual; only `app` imports it.

May import what `views` may, but neither `page` nor `web`.
"""
