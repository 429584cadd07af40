"""How cost grows with callers, keys, revocations, instances and the size of a batch."""

from __future__ import annotations

from collections.abc import Sequence

from ..case import Case, Entry


def _curve(
    of: str, title: str, task: str, parameter: str, points: Sequence[int], *measures: str
) -> Case:
    entries = (Entry("growth", task, str(point), {parameter: point}) for point in points)
    return Case(f"grow-{of}", title, tuple(entries), measures, axis=of)


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
)
