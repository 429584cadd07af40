"""Rate limits: what users hold of them, and who is asked."""
