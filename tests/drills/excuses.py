"""What faults excuse, within the documented limits of the promise. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .history import Band, Call, History

PROPAGATION = 3.0
"""Seconds within which every connected instance knows of a revocation: a look each second, and the
random pause before what others lost is published again."""
REPLICATION = 0.25
"""Seconds before a fault from which the acknowledged may not have reached a replica yet."""
REPLACED_AGAIN = 1.0
"""Seconds from the promotion of another replica until the Sentinels announce it."""
ONE_SWITCH = 1.5
"""Seconds within which announcements of several Sentinels are of one switch."""


def switches(history: History) -> list[float]:
    """When another primary was first announced, each time."""
    found: list[float] = []
    for each in history.noted("switch"):
        if not found or each.at - found[-1] > ONE_SWITCH:
            found.append(each.at)
    return found


def may_be_lost(call: Call, bands: Iterable[Band], promoted: Sequence[float]) -> bool:
    """Whether a primary may have acknowledged this call and then have been lost.

    Sentinels that hear late of a switch may replace the new primary too, although it lives: what it
    acknowledged in the moment before is lost like that of a dying one.
    """
    at = call.ended if call.ended is not None else call.began
    for band in bands:
        if band.wiped and at < band.settled:
            return True
        if band.loses is not None and band.began - REPLICATION <= at <= band.began + band.loses:
            return True
        again = [moment for moment in promoted if band.began <= moment <= band.settled][1:]
        if any(moment - REPLACED_AGAIN <= at <= moment + REPLICATION for moment in again):
            return True
    return False


def doubted(band: Band) -> float:
    """When those who are cut off with a primary no longer take it for that of all."""
    return band.began + (band.loses or 0.0)


def hushed(bands: Iterable[Band], first: float, last: float) -> bool:
    """Whether a fault may keep from others, in a span of time, what was revoked or ended."""
    return not quiet([band for band in bands if not band.heard], first, last)


def quiet(bands: Iterable[Band], first: float, last: float) -> bool:
    """Whether no fault, nor its aftermath, touches a span of time."""
    return not any(
        band.began <= last and band.settled >= first and not band.seamless for band in bands
    )
