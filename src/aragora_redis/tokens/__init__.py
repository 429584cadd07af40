"""Revocations. Pure: what they are, the replica every instance holds, and how it follows Redis."""
