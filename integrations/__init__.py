"""Integrations with frameworks, one file each, imported as `phasescope.integrations.<framework>`.

They may import phasescope's public names only.
"""
