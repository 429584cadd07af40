"""The Lua that runs inside Redis: one atomic decision a file."""
