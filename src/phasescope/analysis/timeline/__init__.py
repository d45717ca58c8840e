"""A session over time, as plots need it."""
