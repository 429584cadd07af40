"""Sessions: ids of which only a digest is stored, and data that is never half-written."""
