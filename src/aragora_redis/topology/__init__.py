"""What the Sentinels and the servers say, and what follows from it. Pure: no I/O, no clock."""
