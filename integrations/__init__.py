"""Integrations with frameworks, one file each, imported as `phasescope.integrations.<framework>`.

They use phasescope's public names only.
"""
