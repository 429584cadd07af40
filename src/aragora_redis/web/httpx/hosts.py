"""What a request is called by."""

from __future__ import annotations

import re
from collections.abc import Callable
from hashlib import blake2b

import httpx

Name = Callable[[httpx.Request], str]

_LONGEST = 64
"""Characters of a circuit's name."""
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]")


def by_host(request: httpx.Request) -> str:
    """The host, with its port where that is unusual: `api.example.org`, `localhost_8080`.

    One that is too long for a name is cut, and told from others by a digest. What
    would be punctuation alone, as `[::]`, has `host` in front.
    """
    host = _NOT_IN_NAMES.sub("_", request.url.raw_host.decode("ascii"))
    name = f"{host}_{request.url.port}" if request.url.port else host
    if not name.strip("_.-"):
        name = f"host{name}"
    if len(name) <= _LONGEST:
        return name
    digest = blake2b(name.encode(), digest_size=8).hexdigest()
    return f"{name[: _LONGEST - len(digest) - 1]}-{digest}"
