"""What opens a node to the lab, and a client made of it."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hiredis
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from .node import Node

TIMEOUT = 0.5


@dataclass(frozen=True, slots=True)
class Access:
    """How the lab comes to a node."""

    password: str = field(repr=False)
    """That of its default user."""
    ca: Path | None = None
    """Who vouches for it over TLS; None where it speaks without."""
    secret_names: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What commands are called that nobody else is to give, by their usual names in capitals."""
    source: str | None = None
    """The address to come from, to where other nodes reach it; None comes by the lab's own way."""

    def client(self, node: Node, *, timeout: float = TIMEOUT) -> redis.Redis:
        """A client for one node, to be closed, that asks once and never again by itself.

        Args:
            node: which.
            timeout: seconds that it has for each answer.
        """
        kind: type[redis.Connection] = redis.Connection
        options: dict[str, Any] = {}
        if self.ca is not None:
            kind = redis.SSLConnection
            # The certificate is for the name that clients have, which does not lead to each node.
            options |= {"ssl_ca_certs": str(self.ca), "ssl_check_hostname": False}
        if self.source is not None:
            kind = _From
            options["source"] = self.source
        if self.secret_names:
            options["command_packer"] = _Packer(self.secret_names)
        pool = redis.ConnectionPool(
            connection_class=kind,
            host=node.inner_host if self.source is None else node.address.host,
            port=node.port,
            password=self.password,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
            # To look up its own version takes the library longer than all else that is asked.
            driver_info=None,
            **options,
        )
        return redis.Redis.from_pool(pool)

    @contextmanager
    def connect(self, node: Node, *, timeout: float = TIMEOUT) -> Iterator[redis.Redis]:
        """The same, closed at the end."""
        client = self.client(node, timeout=timeout)
        try:
            yield client
        finally:
            client.close()


class _From(redis.SSLConnection):
    """Comes from an address of its own, by which it can be cut off."""

    def __init__(self, *, source: str, **options: Any) -> None:
        super().__init__(**options)
        self._source = source

    def _connect(self) -> socket.socket:
        plain = socket.create_connection(
            (self.host, self.port), self.socket_connect_timeout, (self._source, 0)
        )
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # redis-py leaves its own untyped.
            wrapped: socket.socket = self._wrap_socket_with_ssl(plain)  # type: ignore[no-untyped-call]
        except BaseException:
            plain.close()
            raise
        return wrapped


class _Packer:
    """Calls commands by their secret names, whoever in redis-py gives them."""

    def __init__(self, secret_names: Mapping[str, str]) -> None:
        self._names = secret_names

    def pack(self, command: str | bytes, *words: Any) -> list[bytes]:
        text = command.decode() if isinstance(command, bytes) else command
        first, *others = text.split()
        return [hiredis.pack_command((self._names.get(first.upper(), first), *others, *words))]
