"""Tokens and refresh tokens: what users hold of them."""
