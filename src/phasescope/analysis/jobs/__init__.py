"""Put the sessions of one job side by side."""
