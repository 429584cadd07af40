"""The workers that share a port, as one: what all of them count, and whether all are ready."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from http import HTTPStatus

import httpx
import msgspec
from fastapi import Request

from ..clock import SYSTEM_CLOCK, Clock
from .dashboard.door import PATH as DASHBOARD
from .dashboard.figures import Figures
from .dashboard.logins import COOKIE
from .worker import Worker

WITHIN = 2.0
"""Seconds in which a worker has to answer another."""
KEPT = 0.5
"""Seconds for which an answer on readiness holds: whoever asks more often asks nobody else."""


class Siblings:
    """All workers, asked on their own ports."""

    def __init__(self, worker: Worker, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._own = worker.ports[worker.number]
        self._ports = worker.ports
        self._clock = clock
        self._were_ready = worker.replaces
        self._asking = asyncio.Lock()
        self._told: tuple[float, bool] | None = None
        # They speak plain HTTP, so no authorities are read. A connection is not kept: one to a
        # worker that has ended meanwhile would answer for the next one.
        self._client = httpx.AsyncClient(
            trust_env=False,
            verify=False,  # noqa: S501 - nothing is encrypted that could be verified
            timeout=WITHIN,
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    async def close(self) -> None:
        """Ask nobody any more."""
        await self._client.aclose()

    def are_meant(self, request: Request) -> bool:
        """Whether a request is to all of them: it has come to the port that they share."""
        return bool(request.scope["server"][1] != self._own)

    async def ready(self, *, own: bool) -> bool:
        """Whether they are: once each of them was, as long as any is, so that one may be replaced.

        Args:
            own: whether this one is.
        """
        if own and self._were_ready:
            return True
        async with self._asking:
            now = self._clock.monotonic()
            if self._told is None or now - self._told[0] > KEPT:
                self._told = (now, await self._ask_ready())
            return self._told[1]

    async def _ask_ready(self) -> bool:
        answers = await self._ask("/readyz", {})
        ready = [answer is not None and answer.is_success for answer in answers]
        self._were_ready = self._were_ready or all(ready)
        return self._were_ready and any(ready)

    async def expositions(self, authorization: str | None) -> dict[str, str]:
        """The metrics of each that answers, by its number, shown to who asks with this header."""
        headers = {"Accept": "text/plain"}
        if authorization is not None:
            headers["Authorization"] = authorization
        answers = await self._ask("/metrics", headers)
        return {
            str(number): answer.text
            for number, answer in enumerate(answers)
            if answer is not None and answer.status_code == HTTPStatus.OK
        }

    async def figures(self, cookie: str) -> list[Figures | None]:
        """What each of the others has counted for the dashboard; None where one does not tell."""
        others = [port for port in self._ports if port != self._own]
        answers = await self._ask(f"{DASHBOARD}/figures", {"Cookie": f"{COOKIE}={cookie}"}, others)
        return [
            msgspec.json.decode(answer.content, type=Figures)
            if answer is not None and answer.status_code == HTTPStatus.OK
            else None
            for answer in answers
        ]

    async def _ask(
        self, path: str, headers: dict[str, str], ports: Sequence[int] | None = None
    ) -> list[httpx.Response | None]:
        async def ask(port: int) -> httpx.Response | None:
            try:
                return await self._client.get(f"http://127.0.0.1:{port}{path}", headers=headers)
            except httpx.HTTPError:
                return None

        return await asyncio.gather(*(ask(port) for port in ports or self._ports))
