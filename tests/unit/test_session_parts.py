"""The pure parts of sessions: ids, data, and what replies are read as."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aragora_redis.errors import SessionDataError, SessionUnreadableError, UnexpectedReplyError
from aragora_redis.sessions import client, data
from aragora_redis.sessions.ids import SHARDS, new_id, parse_id, user_ref
from aragora_redis.sessions.operations import SessionKeys
from aragora_redis.sessions.stored import Stored, read_answer

KEY = b"0123456789abcdef"
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=20,
)


def ref_of(text, key=KEY) -> Any:
    return parse_id(key, text)


@given(st.integers(0, SHARDS - 1))
def test_an_id_names_its_slot_and_nothing_else(shard):
    text = new_id(shard)
    ref = ref_of(text)
    assert ref.shard == shard
    assert ref_of(text, b"another key").member != ref.member
    assert new_id(shard) != text


@given(st.text(max_size=60))
def test_what_was_not_issued_is_no_id(text):
    assert parse_id(KEY, text) is None


@pytest.mark.parametrize("value", [None, 42, b"x", ["a"]])
def test_what_is_no_text_is_no_id(value):
    assert parse_id(KEY, value) is None


def test_an_id_has_one_spelling():
    text = new_id(3)
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    spellings = [text[:-1] + letter for letter in last]
    assert [each for each in spellings if parse_id(KEY, each)] == [
        each for each in spellings if each[-1] in "AQgw"
    ]
    assert len({ref_of(each).member for each in spellings if ref_of(each)}) == 4
    assert parse_id(KEY, text + "==") is None
    assert parse_id(KEY, "__" + text[2:]) is None, "there is no such slot"


def test_a_user_and_the_users_sessions_share_a_slot():
    home = user_ref(KEY, "42")
    keys = SessionKeys("p")
    tag = keys.index(home).split(b"}")[0]
    assert keys.session(ref_of(new_id(home.shard))).startswith(tag + b"}")


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), JSON))
def test_data_comes_back_as_it_went_in(held):
    fields = data.encode(held)
    assert data.decode(fields) == held
    assert data.size_of(fields) == sum(len(n.encode()) + len(v) for n, v in fields.items())


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        2**63,
        -(2**63) - 1,
        b"bytes",
        (1, 2),
        {1, 2},
        {1: 2},
        dt.datetime.now(dt.UTC),
        object(),
        Text("x"),
        "\ud800",
        {"\udfff": 1},
        [[b"deep"]],
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_would_not_come_back_is_refused(value):
    with pytest.raises(SessionDataError) as refused:
        data.encode({"field": value})
    assert "field" in str(refused.value)


def test_depth_and_number_and_names_are_bounded():
    deep: list[Any] = []
    for _ in range(data.DEPTH_LIMIT):
        deep = [deep]
    circle: list[Any] = []
    circle.append(circle)
    refused: tuple[Any, ...] = (
        {"a": deep},
        {"a": circle},
        {str(n): 1 for n in range(data.FIELD_LIMIT + 1)},
        {"n" * (data.NAME_LIMIT + 1): 1},
        {1: 1},
        [("a", 1)],
    )
    for held in refused:
        with pytest.raises(SessionDataError):
            data.encode(held)
    no_names: tuple[Any, ...] = ("abc", [1], [str(n) for n in range(data.FIELD_LIMIT + 1)])
    for names in no_names:
        with pytest.raises(SessionDataError):
            data.names(names)


@pytest.mark.parametrize(
    "reply",
    [
        None,
        1,
        b"OK",
        [],
        [b"other"],
        [b"session"],
        [b"session", 1, []],
        [b"session", 1, [b"u"]],
        [b"session", 1, [b"u", b"", b"v", b"x", b"c", b"1", b"a", b"1"]],
        [b"session", 1, [b"u", b"\xff", b"v", b"1", b"c", b"1", b"a", b"1"]],
        [b"session", 1, [b"u", b"", b"v", b"1", b"c", b"1", b"a", b"1", b"d:x", b"1"]],
        [b"moved", 1],
        [b"moved", 1, 5],
        [b"full", 1],
    ],
    ids=repr,
)
def test_a_reply_that_is_none_is_told(reply):
    with pytest.raises(UnexpectedReplyError):
        read_answer(reply)


@pytest.mark.parametrize("text", [b"", b"{", b'["\xff", null]', b"[1, 2]", b"[" * 9000])
def test_a_client_that_cannot_be_read_is_none(text):
    assert client.read(text) == client.UNKNOWN


@pytest.mark.parametrize("text", [b"{", b'"\xff"', b'{"\xed\xa0\x80": 1}', b"[" * 9000])
def test_what_is_stored_but_no_json_is_told(text):
    stored = Stored(None, 1, 0.0, 1.0, 1.0, {"a": text}, ())
    with pytest.raises(SessionUnreadableError):
        stored.session(user_ref(KEY, "x"), named=None, source="redis")
