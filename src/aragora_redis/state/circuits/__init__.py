"""Circuit breakers and bulkheads: what users hold of them, and what the fleet knows."""
