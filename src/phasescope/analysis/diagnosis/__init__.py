"""Explain what went wrong: endings, causes, growth, and what to try."""
