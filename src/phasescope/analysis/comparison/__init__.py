"""Compare two sessions, with their noise, and judge rules about the difference."""
