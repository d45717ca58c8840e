"""What people look at: terminal, web page, report. Readers only; the training never notices."""
