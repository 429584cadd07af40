"""Sessions: what users hold of them, and ends that last."""
