"""Which address is connected to, whatever the resolver does; it is played here."""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest

from aragora_redis.address import Address
from aragora_redis.errors import LinkDownError
from aragora_redis.link import names
from aragora_redis.link.names import REMEMBERED, Names

NAME = Address("redis.example", 6379)


class Resolver:
    """Answers what it is told to, or nothing until it is let go."""

    def __init__(self):
        self.addresses: list[str] = []
        self.asked = 0
        self.answers = threading.Event()
        self.answers.set()

    def __call__(self, _host, port, **_):
        self.asked += 1
        self.answers.wait(10)
        if not self.addresses:
            raise socket.gaierror(-2, "Name or service not known")
        return [(None, None, None, None, (each, port)) for each in self.addresses]


@pytest.fixture
def resolver(monkeypatch):
    made = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", made)
    yield made
    made.answers.set()


async def test_the_next_address_is_picked_after_each_that_failed(resolver):
    resolver.addresses = ["10.0.0.1", "10.0.0.2"]
    found = Names()
    assert [await found.pick(NAME) for _ in range(2)] == ["10.0.0.1"] * 2
    found.failed(NAME)
    assert await found.pick(NAME) == "10.0.0.2"
    found.failed(NAME)
    assert await found.pick(NAME) == "10.0.0.1"


async def test_the_last_answer_serves_while_nobody_answers(resolver, monkeypatch):
    found = Names()
    with pytest.raises(LinkDownError, match="cannot be resolved"):
        await found.pick(NAME)
    resolver.addresses = ["10.0.0.1"]
    assert await found.pick(NAME) == "10.0.0.1"
    resolver.addresses = []
    assert await found.pick(NAME) == "10.0.0.1"
    monkeypatch.setattr(names, "ANSWER_LIMIT", 0.02)
    resolver.answers.clear()
    asked = resolver.asked
    assert [await found.pick(NAME) for _ in range(5)] == ["10.0.0.1"] * 5
    assert resolver.asked == asked + 1, "a question that is open is not asked again"
    with pytest.raises(LinkDownError, match=r"not resolved within 0\.02 s"):
        await found.pick(Address("other.example", 1))


async def test_no_thread_of_the_application_waits_for_it(resolver):
    resolver.answers.clear()
    found = Names()
    asking = [asyncio.create_task(found.look_up(Address(f"n{n}", 1))) for n in range(40)]
    async with asyncio.timeout(5):
        assert await asyncio.to_thread(lambda: 42) == 42
    for task in asking:
        task.cancel()
    found.close()


async def test_addresses_are_asked_of_nobody_and_few_names_are_kept(resolver):
    found = Names()
    assert await found.pick(Address("127.0.0.1", 1)) == "127.0.0.1"
    assert await found.pick(Address("::1", 1)) == "::1"
    assert resolver.asked == 0
    resolver.addresses = ["10.0.0.1"]
    for number in range(2 * REMEMBERED):
        await found.pick(Address(f"n{number}", 1))
    assert len(found._known) == REMEMBERED
