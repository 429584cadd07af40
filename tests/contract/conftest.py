"""The two sides of a contract: the scripts on a real server, and their models in this process."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import pytest
import redis

from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.operation import Operation
from aragora_redis.state.embedded import EmbeddedExecutor

T = TypeVar("T")


class OnServer:
    """Runs operations on a real server, each as a call of its own."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        # redis-py would reshape some replies; the product reads them as they come.
        self._raw = redis.Redis(connection_pool=client.connection_pool)
        self._raw.response_callbacks.clear()

    async def run(self, operation: Operation[T], *, within: float = 1, not_after: int = 0) -> T:
        del within
        script = operation.script
        if script is None:
            return operation.read(self._raw.execute_command(*operation.args))
        if not script.batchable:
            return operation.read(self._eval([operation], not_after))
        (result,) = self.call([operation], not_after=not_after)
        if isinstance(result, redis.ResponseError):
            raise result
        return result

    def call(
        self, operations: Sequence[Operation[T]], *, not_after: int = 0
    ) -> list[T | redis.ResponseError]:
        """Run operations of one batchable script as one call; errors of one are in its place."""
        replies = self._eval(operations, not_after)
        return [
            reply if isinstance(reply, redis.ResponseError) else operation.read(reply)
            for operation, reply in zip(operations, replies, strict=True)
        ]

    def _eval(self, operations: Sequence[Operation[Any]], not_after: int) -> Any:
        script = operations[0].script
        assert script is not None
        keys = [key for operation in operations for key in operation.keys]
        args = [arg for operation in operations for arg in operation.args]
        head = (not_after, *operations[0].shared) if script.writes else operations[0].shared
        return self._raw.eval(script.source.decode(), len(keys), *keys, *head, *args)

    def now(self) -> float:
        seconds, micros = self.client.time()
        return seconds + micros / 1e6

    def size(self, key: bytes) -> int:
        """Members of a sorted set, lapsed ones too."""
        return self.client.zcard(key)

    def lasts(self, key: bytes) -> float | None:
        """Seconds that a key has left; None for one that stays."""
        left = self.client.pttl(key)
        return left / 1000 if left >= 0 else None


class InProcess(EmbeddedExecutor):
    """Runs the models of the scripts."""

    def __init__(self) -> None:
        super().__init__(SYSTEM_CLOCK)

    def now(self) -> float:
        return time.time()

    def size(self, key: bytes) -> int:
        return len(self._memory.get(key) or ())

    def lasts(self, key: bytes) -> float | None:
        ends = self._memory.expiry(key)
        return None if ends is None else ends / 1e6 - time.time()


@pytest.fixture(scope="module")
def on_server(standalone_lab) -> Iterator[OnServer]:
    node = standalone_lab.node("redis-0")
    with redis.Redis(port=node.port, password=standalone_lab.password(node)) as client:
        yield OnServer(client)


@pytest.fixture
def own_server(make_lab) -> Iterator[OnServer]:
    """A server whose configuration a test may change."""
    lab = make_lab("standalone")
    lab.start()
    node = lab.node("redis-0")
    with redis.Redis(port=node.port, password=lab.password(node)) as client:
        yield OnServer(client)


@pytest.fixture
def in_process() -> type[InProcess]:
    """Makes sides that are models."""
    return InProcess


@pytest.fixture(params=["script", "model"])
def side(request, on_server) -> OnServer | InProcess:
    """One side; a test that takes it runs on both."""
    return on_server if request.param == "script" else InProcess()
