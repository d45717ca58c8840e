"""How memory grows with the batch, the largest batch that fits a device, and what would save how much of it."""
