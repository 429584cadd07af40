"""The drop-in for the Aragora server: its shared state in Redis, through narrow seams.

Each seam is one file: a part that decides or stands in, which knows Aragora only by the protocol
it is given, and `install`, which puts it in place. `selfcheck` tries each through Aragora's own
functions and tells what it saw; `run` starts the server with all of them.
"""
