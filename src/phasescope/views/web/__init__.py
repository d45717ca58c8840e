"""The page in a browser, served by a process of its own.

May import what `views` may, with `page`, but not `top`; starlette and uvicorn only where it serves.
"""
