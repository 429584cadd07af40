"""What operators run: each operation gathers facts, judges them, and returns a report."""
