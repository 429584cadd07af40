"""Whether the keeper keeps: two questions that Kubernetes asks over HTTP.

`/livez` asks for a restart: the loop is stuck (then often nothing answers at all, which counts as
well), or nothing has been known for ten minutes. Sentinels or an API server that are away come back
by themselves, so that is no remedy but the last resort; it costs nothing, for nothing is kept here.
`/readyz` asks nobody to do anything, but shows as a pod that is not ready: the labels are not known
to be right.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from ...clock import Clock
from ..plain_http import Answer, answering

STUCK = 120.0
"""Seconds that one look and the pause after it may take."""
IGNORANT = 600.0
"""Seconds without knowledge after which a new process may do better."""
WRONG = 30.0
"""Seconds for which it may be unknown whether the labels are right."""


@dataclass(slots=True)
class Vitals:
    """When what was last so, in monotonic seconds."""

    turned: float
    known: float
    right: float | None

    def __init__(self, now: float) -> None:
        self.turned = self.known = now
        self.right = None

    def note(self, now: float, *, known: bool, right: bool) -> None:
        """A look has ended."""
        self.turned = now
        self.known = now if known else self.known
        self.right = now if right else self.right


def answer(path: str, vitals: Vitals, now: float) -> Answer:
    """The answer to one question. Pure."""
    if path == "/livez":
        if now - vitals.turned > STUCK:
            return Answer(503, f"stuck for {now - vitals.turned:.0f} s")
        if now - vitals.known > IGNORANT:
            return Answer(503, f"has known nothing for {now - vitals.known:.0f} s")
        return Answer(200, "alive")
    if path == "/readyz":
        if vitals.right is None or now - vitals.right > WRONG:
            return Answer(503, "the labels are not known to be right")
        return Answer(200, "the labels are right")
    return Answer(404, "ask /livez or /readyz")


@asynccontextmanager
async def serve_probes(port: int, vitals: Vitals, clock: Clock) -> AsyncIterator[None]:
    """Answer on all addresses of this machine, for the kubelet comes from outside of the pod.

    Raises:
        SettingsError: the port cannot be had.
    """
    async with answering(
        None,
        port,
        lambda path: answer(path, vitals, clock.monotonic()),
        who="the label keeper",
        option="--probe-port",
    ):
        yield
