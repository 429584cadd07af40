"""Circuit breakers for httpx: a transport that asks the circuit of each request's host.

A request fails by whatever its transport raises, a timeout among it, or by a status of 500 and
above. What goes wrong on our side before anything is sent says nothing: a pool without a free
connection, a URL or request that cannot be, a body that was sent before, an error of this package.

How it went is known with the response's headers, or (`until="body"`) when its body has ended: a
stream that breaks off is then a failure, and one that the caller leaves says nothing. Until then a
trial call keeps its place, for hours if need be. Slow is what took long until the headers.

    client = httpx.AsyncClient(transport=CircuitTransport(state.circuits))
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Literal

import httpx

from ...errors import AragoraRedisError
from ...state.circuits.circuits import Circuits
from ...state.circuits.guard import Guard
from ...sync.circuits import Circuits as SyncCircuits
from ...sync.circuits import Guard as SyncGuard
from .hosts import Name, by_host

Failed = Callable[[httpx.Response], bool | None]
Until = Literal["headers", "body"]

_OURS = (
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
    httpx.StreamError,
    AragoraRedisError,
)


def server_error(response: httpx.Response) -> bool:
    """Whether the status is 500 or above."""
    return response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR


class CircuitTransport(httpx.AsyncBaseTransport):
    """Guards each request of an `httpx.AsyncClient`.

    `CircuitOpenError` and `CircuitFullError` come out of the client's call as they are.

    Args:
        circuits: those of the state.
        name: the circuit of a request.
        transport: what makes the request.
        failed: whether a response is a failure; None says nothing.
        until: when a response has proved itself.
    """

    def __init__(
        self,
        circuits: Circuits,
        *,
        name: Name = by_host,
        transport: httpx.AsyncBaseTransport | None = None,
        failed: Failed = server_error,
        until: Until = "headers",
    ) -> None:
        self._circuits = circuits
        self._name = name
        self._transport = transport or httpx.AsyncHTTPTransport()
        self._failed = failed
        self._until = until

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Make a request, if its circuit lets it through."""
        if not request.url.host:  # it has no circuit, and the transport says what it lacks
            return await self._transport.handle_async_request(request)
        circuit = self._circuits[self._name(request)]
        guard = circuit.guard(ignore=_OURS, classify=self._failed)
        await guard.__aenter__()
        try:
            response = await self._transport.handle_async_request(request)
        except BaseException as error:
            await guard.__aexit__(type(error), error, error.__traceback__)
            raise
        try:
            guard.answered()
            outcome = guard.judged(response)
            if outcome == "ok" and self._until == "body":
                response.stream = _Body(response.stream, guard)
            else:
                await guard.end(outcome)
        except BaseException:  # nobody else closes what the caller is not given
            guard.abandon()
            if isinstance(response.stream, httpx.AsyncByteStream):
                await response.stream.aclose()
            raise
        return response

    async def aclose(self) -> None:
        """Close the transport within."""
        await self._transport.aclose()


class _Body(httpx.AsyncByteStream):
    """A body whose end tells how the call went."""

    def __init__(self, stream: httpx.SyncByteStream | httpx.AsyncByteStream, guard: Guard) -> None:
        self._guard = guard
        self._loop = asyncio.get_running_loop()
        if not isinstance(stream, httpx.AsyncByteStream):
            raise TypeError("an asynchronous transport gives an asynchronous stream")
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._stream:
                yield part
        except BaseException as error:
            await self._guard.__aexit__(type(error), error, error.__traceback__)
            raise
        await self._guard.end("ok")

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            await self._guard.end("released")

    def __del__(self) -> None:
        # Where it is part of a cycle, that is collected by whatever thread comes to it.
        if self._guard.under_way:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and with it all calls
                self._loop.call_soon_threadsafe(self._guard.abandon)


class SyncCircuitTransport(httpx.BaseTransport):
    """The same for an `httpx.Client`, with the circuits of `aragora_redis.sync`."""

    def __init__(
        self,
        circuits: SyncCircuits,
        *,
        name: Name = by_host,
        transport: httpx.BaseTransport | None = None,
        failed: Failed = server_error,
        until: Until = "headers",
    ) -> None:
        self._circuits = circuits
        self._name = name
        self._transport = transport or httpx.HTTPTransport()
        self._failed = failed
        self._until = until

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Make a request, if its circuit lets it through."""
        if not request.url.host:
            return self._transport.handle_request(request)
        circuit = self._circuits[self._name(request)]
        guard = circuit.guard(ignore=_OURS, classify=self._failed)
        guard.__enter__()
        try:
            response = self._transport.handle_request(request)
        except BaseException as error:
            guard.__exit__(type(error), error, error.__traceback__)
            raise
        try:
            guard.answered()
            outcome = guard.judged(response)
            if outcome == "ok" and self._until == "body":
                response.stream = _SyncBody(response.stream, guard)
            else:
                guard.end(outcome)
        except BaseException:  # nobody else closes what the caller is not given
            guard.abandon()
            if isinstance(response.stream, httpx.SyncByteStream):
                response.stream.close()
            raise
        return response

    def close(self) -> None:
        """Close the transport within."""
        self._transport.close()


class _SyncBody(httpx.SyncByteStream):
    """A body whose end tells how the call went."""

    def __init__(
        self, stream: httpx.SyncByteStream | httpx.AsyncByteStream, guard: SyncGuard
    ) -> None:
        self._guard = guard
        if not isinstance(stream, httpx.SyncByteStream):
            raise TypeError("a synchronous transport gives a synchronous stream")
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._stream
        except BaseException as error:
            self._guard.__exit__(type(error), error, error.__traceback__)
            raise
        self._guard.end("ok")

    def close(self) -> None:
        try:
            self._stream.close()
        finally:
            self._guard.end("released")
