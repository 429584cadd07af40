"""The workers that share a port, as one: what all of them count, and whether all are ready."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

import httpx
from fastapi import Request

from .worker import Worker

WITHIN = 2.0
"""Seconds in which a worker has to answer another."""


class Siblings:
    """All workers, asked on their own ports."""

    def __init__(self, worker: Worker) -> None:
        self._own = worker.ports[worker.number]
        self._ports = worker.ports

    def are_meant(self, request: Request) -> bool:
        """Whether a request is to all of them: it has come to the port that they share."""
        return bool(request.scope["server"][1] != self._own)

    async def all_ready(self) -> bool:
        """Whether each of them is."""
        answers = await self._ask("/readyz", {})
        return all(answer is not None and answer.is_success for answer in answers)

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

    async def _ask(self, path: str, headers: dict[str, str]) -> list[httpx.Response | None]:
        async with httpx.AsyncClient(trust_env=False, timeout=WITHIN, headers=headers) as client:

            async def ask(port: int) -> httpx.Response | None:
                try:
                    return await client.get(f"http://127.0.0.1:{port}{path}")
                except httpx.HTTPError:
                    return None

            return await asyncio.gather(*(ask(port) for port in self._ports))
