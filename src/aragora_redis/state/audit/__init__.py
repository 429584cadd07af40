"""Acts by hand, and where they are recorded."""
