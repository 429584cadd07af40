"""The script that uses refresh tokens up, and its model."""

from __future__ import annotations

import secrets
import time

import pytest
import redis
from tests.contract.conftest import OnServer

from aragora_redis.errors import AragoraRedisError, UnexpectedReplyError
from aragora_redis.tokens import refresh
from aragora_redis.tokens.refresh import Presented, Successor

KEY = b"k" * 32


class Family:
    """A family on one side: tokens `g` are of generation g, `g'` are others of it."""

    def __init__(self, side):
        self.side = side
        self.name = secrets.token_hex(8)
        self.now = time.time()

    async def present(self, token, nonce, *, spent=False, ends=3600.0):
        generation, other = int(token.rstrip("'")), token.endswith("'")
        old = Presented(self.name, generation, token, self.now, self.now + ends)
        new = Successor(f"{generation + 1}{'*' if other else ''}", nonce.encode())
        operation = refresh.rotate(
            "test", KEY, old, new, issued_at=self.now, ends_at=self.now + ends, spent=spent
        )
        self.key = operation.keys[0]
        try:
            return "ok" if await self.side.run(operation, within=1) else "never"
        except AragoraRedisError as error:
            return type(error).__name__.removesuffix("Error")


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        ("0a 1b 2c", "ok ok ok"),
        ("0a 0a 0a", "ok ok ok"),
        ("0a 0b 1c 2d", "ok RefreshRaced ok ok"),
        ("0a 1b 0a 2c", "ok ok RefreshReused TokenRevoked"),
        ("0a 1b 1b 2c", "ok ok ok ok"),
        ("0a 0b! 1b", "ok RefreshReused TokenRevoked"),
        ("0a 0a! 1b 0a!", "ok ok ok RefreshReused"),
        ("0a 0a!! 1b", "ok RefreshReused TokenRevoked"),
        ("7a 8b 3c", "ok ok RefreshReused"),
        ("0a 5b 1c", "ok ok RefreshReused"),
        ("0a 1'b 1c", "ok RefreshReused TokenRevoked"),
        ("0a 0'a 1b", "ok RefreshReused TokenRevoked"),
        ("0a* 1b", "RefreshReused TokenRevoked"),
        ("0a 0a* 1b", "ok ok ok"),
        ("0a 1b* 1b", "ok RefreshReused TokenRevoked"),
    ],
)
async def test_of_each_generation_one_token_is_good_once(side, monkeypatch, calls, expected):
    """A call is a token and a nonce; `*` is known to be used up.

    `!` comes when who was late is a thief, `!!` after the time to ask again.
    """
    family = Family(side)
    seen = []
    for call in calls.split():
        late, spent = "!" in call, "*" in call
        monkeypatch.setattr(refresh, "LATE_WITHIN", -1.0 if late else 10.0)
        monkeypatch.setattr(refresh, "AGAIN_WITHIN", -1.0 if "!!" in call else 300.0)
        word = call.strip("!*")
        seen.append(await family.present(word[:-1], word[-1], spent=spent))
    assert seen == expected.split()


@pytest.mark.parametrize(
    ("setting", "stored"), [("maxmemory", True), ("min-replicas-to-write", False)]
)
async def test_reuse_is_told_where_nothing_else_is_written(make_lab, setting, stored):
    lab = make_lab("standalone")
    lab.start()
    node = lab.node("redis-0")
    client = redis.Redis(port=node.port, password=lab.password(node))
    family = Family(OnServer(client))
    for token in ("0", "1"):
        await family.present(token, "n")
    client.config_set(setting, "1")
    assert await family.present("0", "n") == "RefreshReused"
    client.config_set(setting, "0")
    assert await family.present("2", "n") == ("TokenRevoked" if stored else "ok")
    client.close()


async def test_who_asks_again_gets_the_same_instant(side):
    family = Family(side)
    await family.present("0", "a")
    first, family.now = family.now, family.now + 3.0
    old = Presented(family.name, 0, "0", first, first + 60.0)
    again = refresh.rotate(
        "test",
        KEY,
        old,
        Successor("1", b"a"),
        issued_at=family.now,
        ends_at=first + 60,
        spent=False,
    )
    assert await side.run(again, within=1) == pytest.approx(first, abs=0.001)


async def test_a_family_lasts_as_long_as_any_token_of_it(side):
    family = Family(side)
    for token, ends in (("0", 3600.0), ("1", 60.0), ("2", 7200.0)):
        await family.present(token, "n", ends=ends)
    assert side.lasts(family.key) == pytest.approx(7200, abs=10)


@pytest.mark.parametrize("reply", [None, [], [b"rotated"], [b"rotated", b"x"], [b"else"], 5])
def test_an_answer_that_cannot_be_is_told(reply):
    with pytest.raises(UnexpectedReplyError):
        refresh._read(reply)


def test_the_successor_is_the_same_for_the_same_nonce_alone():
    old = Presented("f", 0, "j", 0.0, 60.0)
    first = refresh.successor(KEY, old, "n")
    assert first == refresh.successor(KEY, old, "n")
    others = [
        refresh.successor(KEY, old, "m"),
        refresh.successor(KEY, old._replace(jti="i"), "n"),
        refresh.successor(KEY, old._replace(generation=1), "n"),
        refresh.successor(KEY, old._replace(family="fj", jti=""), "n"),
    ]
    assert len({each.jti for each in (first, *others)}) == 5
    assert "j" not in repr(old).removeprefix("Presented")
