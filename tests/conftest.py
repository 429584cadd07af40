"""Real servers for tests: on free ports, in temporary directories, always stopped."""

from __future__ import annotations

import gc
import signal
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry
from tests.integration.past import give_past
from tests.integration.rights import speaks_tls

from aragora_redis.lab import Lab

MakeLab = Callable[..., Lab]
Connect = Callable[..., redis.Redis]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """Keep what thousands of collected tests are made of out of the garbage collector's way.

    Looking through it took a fifth of the time that they are collected in, and later held up the
    loop of a test for a quarter of a second and more, at any moment.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()


@pytest.fixture
def in_the_foreground() -> Iterator[None]:
    """Ctrl-C and a hang-up are heeded, which a shell has what runs in its background ignore."""
    interrupt = signal.signal(signal.SIGINT, signal.default_int_handler)
    hang_up = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGHUP, hang_up)


@pytest.fixture(scope="session")
def standalone_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One Redis for the whole run. A test uses keys of its own and leaves the server running."""
    lab = Lab.create(tmp_path_factory.mktemp("standalone") / "lab", "standalone", ports="free")
    lab.start()
    give_past(lab)
    yield lab
    lab.stop()


@pytest.fixture
def make_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeLab]:
    """Makes labs, not yet started, that are stopped after the test, whatever it did to them."""
    with ExitStack() as cleanup:

        def make(mode: str = "sentinel", **options: Any) -> Lab:
            if mode == "managed" and not speaks_tls():
                pytest.skip("this redis-server was built without TLS")
            directory = tmp_path_factory.mktemp(mode) / "lab"
            lab = Lab.create(directory, mode, **({"ports": "free"} | options))
            cleanup.callback(lab.stop)
            return lab

        yield make


@pytest.fixture
def sentinel_lab(make_lab: MakeLab) -> Lab:
    """A primary, two replicas and three Sentinels of the test's own, usable (half a second)."""
    lab = make_lab("sentinel")
    lab.start()
    return lab


@pytest.fixture
def cluster_lab(make_lab: MakeLab) -> Lab:
    """Slots on three primaries, each with a replica, of the test's own, usable (2.5 seconds)."""
    lab = make_lab("cluster")
    lab.start()
    return lab


@pytest.fixture
def managed_lab(make_lab: MakeLab) -> Lab:
    """A managed service of the test's own: two nodes behind a name, and their provider."""
    lab = make_lab("managed")
    lab.start()
    return lab


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Makes a plain redis-py client for one node of a lab, closed after the test.

    It connects again by itself: a server that becomes a replica drops its clients.
    """
    with ExitStack() as cleanup:

        def client(lab: Lab, target: str = "primary") -> redis.Redis:
            node = lab.node(target)
            made = redis.Redis(
                port=node.port,
                password=lab.password(node),
                socket_timeout=2,
                retry=Retry(ConstantBackoff(0.1), 3),
                decode_responses=True,
            )
            cleanup.callback(made.close)
            return made

        yield client
