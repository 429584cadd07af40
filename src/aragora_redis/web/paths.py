"""Which requests a middleware is for, by their paths. Pure."""

from __future__ import annotations

from collections.abc import Collection

from ..errors import InvalidInputError


def listed_paths(given: Collection[str], option: str) -> tuple[str, ...]:
    """The paths that an option lists, each with all below it.

    Args:
        given: paths as the routes have them.
        option: its name.

    Raises:
        TypeError: that is no list of texts. Of one text each character would be taken for a path,
            and below "/" is everything.
        InvalidInputError: one does not begin with "/", so no request would be for it.
    """
    found = tuple(given)
    if isinstance(given, str) or not all(isinstance(each, str) for each in found):
        raise TypeError(f'{option} is a list of paths: ["/healthz"]')
    for each in found:
        if not each.startswith("/"):
            raise InvalidInputError(
                f'{each!r} in {option} does not begin with "/"',
                remedy='write a path as its route has it: "/healthz"',
            )
    return found


def is_below(path: str, roots: Collection[str]) -> bool:
    """Whether a path is one of `roots`, or below one."""
    return any(path == root or path.startswith(root.rstrip("/") + "/") for root in roots)
