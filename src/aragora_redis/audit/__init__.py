"""The record of what was done by hand, from every face: what it holds, and how it is kept. Pure."""
