"""All cases, in the order in which they run."""

from __future__ import annotations

from fnmatch import fnmatchcase

from ..case import Case
from . import (
    check,
    circuits,
    growth,
    here,
    http,
    libraries,
    sessions,
    starting,
    stress,
    sync,
    tokens,
)

CASES: tuple[Case, ...] = (
    *check.CASES,
    *libraries.CASES,
    *sync.CASES,
    *here.CASES,
    *circuits.CASES,
    *tokens.CASES,
    *sessions.CASES,
    *http.CASES,
    *starting.CASES,
    *stress.CASES,
    *growth.CASES,
)


def chosen(patterns: tuple[str, ...]) -> tuple[Case, ...]:
    """The cases with one of these names, which may be patterns such as `check-*`.

    For none all but those that take minutes each, which `Case.long` marks.

    Raises:
        ValueError: one of them fits no name.
    """
    for pattern in patterns:
        if not any(fnmatchcase(case.name, pattern) for case in CASES):
            known = ", ".join(case.name for case in CASES)
            raise ValueError(f"there is no case {pattern!r}; there are: {known}")
    if not patterns:
        return tuple(case for case in CASES if not case.long)
    return tuple(
        case for case in CASES if any(fnmatchcase(case.name, pattern) for pattern in patterns)
    )
