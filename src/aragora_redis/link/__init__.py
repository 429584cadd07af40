"""The only I/O to Redis: connections, pipelining, the watch on the Sentinels, and replay."""
