"""Which requests a middleware is for, by their paths. Pure."""

from __future__ import annotations

from collections.abc import Collection


def is_below(path: str, roots: Collection[str]) -> bool:
    """Whether a path is one of `roots`, or below one."""
    return any(path == root or path.startswith(root.rstrip("/") + "/") for root in roots)
