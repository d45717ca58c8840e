"""The same answers as text and HTML.

May import all other rooms of `analysis`; of those only `summary` imports it, when somebody prints one.
"""
