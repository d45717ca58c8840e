"""What a running session answers to `phasescope snapshot`: each part by itself, by the thread that can do it without
harm.

May import `census`, `_native`, `backends`, and the lower files of `capture`.
"""
