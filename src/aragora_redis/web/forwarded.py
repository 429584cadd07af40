"""Whom the `Forwarded` field says that a request was sent for (RFC 7239 section 4). Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

_PAIR = re.compile(
    r"""[ \t]*([\w!#$%&'*+.^`|~-]+)=(?:([][:\w!#$%&'*+.^`|~-]+)|"((?:[^"\\]|\\.)*)")[ \t]*""",
    re.ASCII,
)
"""A parameter. Values with colons are to be quoted, which not every proxy does."""
_ESCAPED = re.compile(r"\\(.)")


def forwarded_for(values: Sequence[str]) -> list[str]:
    """What each element says in `for`, in their order; empty where it says nothing.

    A value that cannot be read says nothing, and so does all in front of it: what a client has
    begun, such as a quotation without an end, might swallow what a proxy has added.

    Args:
        values: of the field, to each of which proxies may have added.
    """
    found: list[str] = []
    for value in values:
        told = _elements(value)
        found = [""] if told is None else [*found, *told]
    return found


def _elements(value: str) -> list[str] | None:
    found: list[str] = []
    told, at = "", 0
    while at < len(value):
        pair = _PAIR.match(value, at)
        if pair is None:
            return None
        if pair[1].lower() == "for":
            told = pair[2] or _ESCAPED.sub(r"\1", pair[3] or "")
        at = pair.end()
        follows = value[at : at + 1]
        if follows in {",", ""}:
            found.append(told)
            told = ""
        elif follows != ";":
            return None
        at += 1
    return found
