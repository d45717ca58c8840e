"""The training side, which writes one ring: sessions, phases, the sampler and the collectors.

May import `backends`, `wire`, `readers` (a session reads its own ring back), and the ground (`_log`, `_os_compat`, …);
`recordings`, `exporters` and `analysis` only on request.
"""
