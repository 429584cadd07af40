"""Times, durations and counts as a reader sees them. Pure."""

from __future__ import annotations

import datetime as dt
import math

from ...events import DiskTrouble
from ...state.status import OnDisk
from .markup import Html, tag

NONE = "\N{EN DASH}"
"""Stands where there is nothing to tell."""
_IN_STEP = 5.0
_TROUBLES: dict[DiskTrouble, str] = {
    "full": "disk full",
    "error": "disk fails",
    "hung": "disk hangs",
    "unread": "files of ended instances not taken in",
}


def clock_time(at: float) -> Html:
    """A time of day in UTC; the date is there for machines and on hover."""
    moment = dt.datetime.fromtimestamp(at, dt.UTC)
    exact = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    return tag("time", moment.strftime("%H:%M:%S"), datetime=exact, title=exact)


def seconds(value: float) -> str:
    """A short duration."""
    return f"{value:.1f} s" if value < 60 else f"{int(value // 60)} min {int(value % 60)} s"


def precise(value: float) -> str:
    """A short duration of which hundredths matter."""
    return f"{value:.2f} s" if value < 10 else seconds(value)


def millis(value: float) -> str:
    """A duration of an answer, from seconds."""
    return f"{value * 1000:.1f} ms" if value < 0.01 else f"{value * 1000:.0f} ms"


def ago(value: float) -> str:
    """How long ago, in one unit."""
    value = max(value, 0.0)
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if value >= length:
            return f"{int(value // length)} {unit} ago"
    return f"{int(value)} s ago"


def size(value: int) -> str:
    """Bytes."""
    amount = float(value)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def staleness(value: float) -> str:
    """How far behind; below what a quiet fleet shows it is no news."""
    if not math.isfinite(value):
        return "never in step yet"
    return "in step" if value < _IN_STEP else f"{int(value)} s behind"


def count(number: int, noun: str) -> str:
    """Such as `1 replica`, `2 replicas`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def on_disk(outbox: OnDisk | None) -> str:
    """What is on disk, and what is wrong with that."""
    if outbox is None:
        return "none"
    held = f"{count(outbox.entries, 'revocation')}, {size(outbox.size)}"
    if outbox.trouble is None:
        return held
    wait = f", {outbox.waiting} wait since {seconds(outbox.delay)}" if outbox.waiting else ""
    return f"{_TROUBLES[outbox.trouble]}{wait} ({held})"


def per_second(total: int, over: int) -> str:
    """A rate."""
    rate = total / over
    return f"{rate:.0f}/s" if rate >= 10 else f"{rate:.1f}/s"
