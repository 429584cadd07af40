"""The slot of a key, against the specification's own examples and another client's answers."""

from __future__ import annotations

from binascii import crc_hqx

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import REDIS_CLUSTER_HASH_SLOTS
from redis.crc import key_slot as slot_of_another_client

from aragora_redis.slots import SLOTS, key_slot

EXAMPLES = (
    (b"{user1000}.following", b"user1000"),
    (b"{user1000}.followers", b"user1000"),
    (b"foo{}{bar}", b"foo{}{bar}"),
    (b"foo{{bar}}zap", b"{bar"),
    (b"foo{bar}{zap}", b"bar"),
    (b"foo{bar", b"foo{bar"),
    (b"foo}{bar}", b"bar"),
)


def test_the_check_value_of_the_specification():
    assert key_slot(b"123456789") == 0x31C3


@pytest.mark.parametrize(("key", "counted"), EXAMPLES, ids=[key.decode() for key, _ in EXAMPLES])
def test_what_of_a_key_counts(key, counted):
    assert key_slot(key) == crc_hqx(counted, 0) % SLOTS


@given(st.binary() | st.text("{}ab", max_size=8).map(str.encode))
def test_every_client_finds_the_same(key):
    assert key_slot(key) == slot_of_another_client(key)
    assert SLOTS == REDIS_CLUSTER_HASH_SLOTS
