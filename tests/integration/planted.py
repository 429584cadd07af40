"""Secrets that can be recognised wherever they turn up, and a watch that looks for them."""

from __future__ import annotations

import base64
import functools
import gc
import json
import logging
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, quote_plus

from aragora_redis.telemetry.logs import JsonFormatter

CHATTY = ("asyncio", "redis", "uvicorn", "uvicorn.error", "uvicorn.access", "concurrent.futures")


def forms(secret: str) -> set[str]:
    """How a secret may be spelled, whatever stands before it."""
    found = {secret, quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1]}
    found |= {secret.encode().hex(), repr(secret.encode())[2:-1]}
    for before in range(3):  # base64 of it, at each of its three places in a group
        text = base64.b64encode(b"\0" * before + secret.encode()).decode()
        found.add(text[before + 1 if before else 0 : -4].rstrip("="))
    return found


class Watch:
    """What was planted, and where any of it was seen.

    Args:
        planted: the secrets by their names.
    """

    def __init__(self, planted: Mapping[str, str]) -> None:
        self._forms: dict[str, set[str]] = {}
        self.seen: set[tuple[str, str]] = set()
        for name, secret in planted.items():
            self.plant(name, secret)

    def plant(self, name: str, secret: str) -> str:
        """One more; gives it."""
        assert len(secret) >= 8, "it would be found by chance"
        self._forms[name] = forms(secret)
        return secret

    def look(self, where: str, shown: object, *, but: tuple[str, ...] = ()) -> None:
        """Look for them; `but` for those that are meant to be there."""
        text = shown.decode("latin-1") if isinstance(shown, bytes) else str(shown)
        for name, spelled in self._forms.items():
            if name not in but and any(form in text for form in spelled):
                self.seen.add((where, name))

    def error(self, error: BaseException) -> None:
        """All that an error shows, and those that led to it."""
        seen: BaseException | None = error
        while seen is not None:
            self.look(f"error {type(seen).__name__}", f"{seen} {seen!r} {seen.args!r}")
            self.look(f"fields of {type(seen).__name__}", vars(seen))
            seen = seen.__cause__ or seen.__context__
        self.look("traceback", "".join(traceback.format_exception(error)))

    def reprs(self) -> int:
        """The `repr` of each object of ours that there is; gives how many."""
        ours = [each for each in gc.get_objects() if _is_ours(each)]
        for each in ours:
            self.look(f"repr of {type(each).__qualname__}", f"{each!r} {each}")
        return len(ours)

    @contextmanager
    def logs(self) -> Iterator[None]:
        """Look at all that is logged meanwhile, by anybody, from DEBUG on."""
        handler = _Handler(self)
        root = logging.getLogger()
        loggers = [root, *map(logging.getLogger, CHATTY)]
        before = [(each, each.level, each.disabled, each.propagate) for each in loggers]
        for each in loggers:
            each.setLevel(logging.DEBUG)
            each.disabled, each.propagate = False, True
        root.addHandler(handler)
        try:
            yield
        finally:
            root.removeHandler(handler)
            for each, level, disabled, propagate in before:
                each.setLevel(level)
                each.disabled, each.propagate = disabled, propagate


def _is_ours(thing: Any) -> bool:
    # Not by isinstance, which has what is lazy set itself up.
    if issubclass(type(thing), functools.partial):  # what is to be called with what
        return str(getattr(thing.func, "__module__", "")).startswith("aragora_redis")
    # What Cython has made has a descriptor there.
    return str(type(thing).__module__).startswith("aragora_redis")


class _Handler(logging.Handler):
    def __init__(self, watch: Watch) -> None:
        super().__init__(logging.DEBUG)
        self._watch = watch
        self._formats = (logging.Formatter("%(name)s %(message)s"), JsonFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        for each in self._formats:
            self._watch.look(f"log of {record.name}", each.format(record))
        self._watch.look(f"arguments of a line of {record.name}", repr(record.args))
        if record.exc_info and record.exc_info[1] is not None:
            self._watch.error(record.exc_info[1])


def stored(client: Any) -> Iterator[tuple[bytes, bytes]]:
    """Each key of a Redis, with all that it holds."""
    reads = {
        b"string": client.get,
        b"hash": client.hgetall,
        b"list": lambda key: client.lrange(key, 0, -1),
        b"set": client.smembers,
        b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        b"stream": client.xrange,
    }
    for key in client.scan_iter(count=1000):
        kind = client.type(key)
        if kind in reads:
            yield key, b"".join(_bytes(reads[kind](key)))


def _bytes(value: Any) -> Iterator[bytes]:
    if isinstance(value, Mapping):
        for pair in value.items():
            yield from _bytes(pair)
    elif isinstance(value, list | tuple | set):
        for each in value:
            yield from _bytes(each)
    elif value is not None:
        yield value if isinstance(value, bytes) else str(value).encode()
