"""How cost grows with callers, keys, revocations, instances and the size of a batch."""

from __future__ import annotations

from collections.abc import Sequence

from ..case import Case, Entry
from .tokens import CLAIMS, JTI

HELD = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
WEIGHED = HELD[2:]
"""Fewer take no more memory than a process gains or loses by chance."""


def _curve(
    of: str, title: str, task: str, parameter: str, points: Sequence[int], *measures: str
) -> Case:
    entries = (Entry("growth", task, str(point), {parameter: point}, at=point) for point in points)
    return Case(f"grow-{of}", title, tuple(entries), measures, axis=of)


def _line(
    line: str, contestant: str, task: str, points: Sequence[int], **parameters: int
) -> tuple[Entry, ...]:
    """One of several curves, over the number of revocations."""
    return tuple(
        Entry(contestant, task, f"{line}: {at}", {"entries": at, **parameters}, at, line)
        for at in points
    )


CASES = (
    _curve(
        "callers",
        "rate-limit checks over 1 000 keys, by the number of callers",
        "check",
        "callers",
        (1, 4, 16, 64, 256, 1024, 4096),
        *("client cpu", "server cpu", "wire", "rate", "median", "p99"),
    ),
    _curve(
        "keys",
        "rate-limit checks by 64 callers, by the number of keys",
        "check",
        "keys",
        (1, 10, 100, 1_000, 10_000, 100_000, 1_000_000),
        *("client cpu", "server cpu", "wire", "rate"),
    ),
    _curve(
        "batch",
        "rate-limit checks that are asked at once, by how many they are",
        "burst",
        "size",
        (1, 2, 4, 8, 16, 32, 64, 128),
        *("client cpu", "server cpu", "wire"),
    ),
    _curve(
        "instances",
        "what instances cost that do nothing, by how many they are; a call is a second of one",
        "idle",
        "instances",
        (1, 10, 50, 100, 200),
        *("client cpu", "server cpu", "wire"),
    ),
    Case(
        "grow-revocations",
        "is a token revoked, and the memory that it takes to know, by the number of revocations",
        (
            *_line(JTI, "ours", "is-revoked", HELD),
            *_line(CLAIMS, "ours", "is-revoked", HELD, claims=1),
            *_line("resident memory", "replica", "memory", WEIGHED),
        ),
        ("median", "p99", "client cpu", "bytes"),
        axis="revocations",
        long=True,
    ),
)
