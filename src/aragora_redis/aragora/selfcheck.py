"""The self-check at the start: what of Aragora's state is in Redis, as far as that was seen."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence

from .seam import Finding, Seam, Where

_log = logging.getLogger(__name__)

ATTEMPTS = 3
PAUSE = 0.5
"""Seconds between two."""
BESIDE = (
    "in memory of each instance: limits by user, tenant, tier and platform, for OAuth and by "
    "default, breakers that are not of the registry, API tokens revoked by themselves"
)
"""What Aragora keeps for itself whatever is set, said so that nobody takes it for shared."""


def install(seams: Iterable[Seam], version: str, *, any_version: bool) -> list[Seam | Finding]:
    """Put each seam in place that was checked against this version; a finding for any other."""
    placed: list[Seam | Finding] = []
    for seam in seams:
        if version in seam.checked or any_version:
            placed.append(_placed(seam))
        else:
            detail = f"checked with {seam.checked}, and this is {version}; --any-version tries it"
            placed.append(Finding(seam.feature, Where.REFUSED, detail))
    return placed


def verify(placed: Iterable[Seam | Finding]) -> list[Finding]:
    """Try each seam that is in place."""
    return [each if isinstance(each, Finding) else _tried(each) for each in placed]


def lines(findings: Sequence[Finding]) -> list[str]:
    """What is printed of it."""
    return [*map(str, findings), f"beside them: {BESIDE}"]


def whole(findings: Sequence[Finding]) -> bool:
    """Whether every feature that has a seam was seen on Redis."""
    return all(each.where in (Where.REDIS, Where.ALONE) for each in findings)


def _placed(seam: Seam) -> Seam | Finding:
    try:
        seam.install()
    except (ImportError, AttributeError, TypeError) as error:
        return Finding(seam.feature, Where.REFUSED, f"its place is not there: {error}")
    return seam


def _tried(seam: Seam) -> Finding:
    """A seam's finding; one answer that came too late is no reason to say that it is not there."""
    for _ in range(ATTEMPTS - 1):
        found = _try(seam)
        if found.where not in (Where.UNSEEN, Where.MEMORY):
            return found
        time.sleep(PAUSE)
    return _try(seam)


def _try(seam: Seam) -> Finding:
    try:
        return seam.verify()
    except Exception as error:  # noqa: BLE001 - whatever Aragora says, the server is to start
        _log.debug("the self-check of %s", seam.feature, exc_info=True)
        return Finding(seam.feature, Where.UNSEEN, f"could not be tried: {type(error).__name__}")
