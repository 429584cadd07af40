"""What operators look at and do by hand: each act is recorded with who did it, and why."""

from .desk import Desk, open_desk

__all__ = ["Desk", "open_desk"]
