"""The same answers as text and HTML."""
