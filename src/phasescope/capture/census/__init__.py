"""start(census=True): which objects a training keeps, how many of them, and who keeps those that grow with the steps.

Nothing of the training's runs here: types come from `type()`, attributes from the base classes' own descriptors, and
objects are compared by identity. References are dropped before the step ends. May import `_native`, `_log`, `backends`,
and the lower files of `capture`; no framework, which it looks up among the modules that are loaded.
"""
