"""Look into a ring, live or after its process ended. Nothing here writes."""
