"""The rate-limiting libraries, through their public faces."""

from __future__ import annotations

from ..case import Bar, Case, Entry

CALLERS = {"callers": 64}
LIBRARIES = {
    "limits": "limits_library",
    "throttled-py": "throttled_library",
    "pyrate-limiter": "pyrate",
}

CASES = (
    Case(
        "libraries",
        "rate-limit checks by 64 callers over 1 000 keys",
        (
            Entry("ours", "check", "ours", CALLERS),
            *(Entry(module, "check", name, CALLERS) for name, module in LIBRARIES.items()),
        ),
        ("rate", "median", "p99", "client cpu", "server cpu"),
        tuple(Bar("rate", "ours", at_least=10, against=name) for name in LIBRARIES),
    ),
)
