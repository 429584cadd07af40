"""RESP, as Redis writes it and as it never would (Redis documentation, "RESP protocol spec")."""

from __future__ import annotations

from random import Random
from typing import Any

import hiredis
from hypothesis import strategies as st

_WORDS = (
    b"", b"0", b"-1", b"1", b"ok", b"gone", b"session", b"moved", b"full", b"same", b"changed",
    b"ended", b"permit", b"busy", b"settled", b"closed", b"open", b"to", b"v", b"u", b"d:a",
    b"master", b"slave", b"role:slave", b"a b c d", b"\xff\xfe", b"\0" * 16, b"9" * 5000, b"1-1",
    b"1e999", b"message", b"9" * 25,
)  # fmt: skip
_ERRORS = (
    "ERR", "ERR unknown command", "MOVED 1 h:1", "MOVED x", "ASK 99999 :0", "LATE 1", "LATE x",
    "LATE 9999999999999999", "READONLY x", "NOSCRIPT x", "OOM x", "NOPERM x", "", "é", "BUSY",
    "NOAUTH x", "LOADING x", "CLUSTERDOWN x", "TRYAGAIN", "WRONGTYPE x", "MASTERDOWN x",
)  # fmt: skip

_bytes = st.sampled_from(_WORDS) | st.binary(max_size=24)
_numbers = st.sampled_from([0, 1, -1, 2, 2**53, 2**63 - 1, -(2**63)]) | st.integers(
    -(2**63), 2**63 - 1
)
_doubles = st.sampled_from([float("inf"), float("nan"), 0.0, 1.5]) | st.floats()
_errors = st.sampled_from(_ERRORS) | st.text(max_size=20)

replies: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | _numbers | _doubles | _bytes | _errors.map(hiredis.ReplyError),
    lambda inner: (
        st.lists(inner, max_size=6)
        | st.dictionaries(_bytes, inner, max_size=4)
        | st.lists(inner, max_size=4).map(hiredis.PushNotification)
    ),
    max_leaves=12,
)
"""What hiredis may hand over."""

_INSTEAD: tuple[Any, ...] = (
    None, True, 0, -1, 1, 2**62, -(2**63), 0.5, float("inf"), float("nan"), [], [[]], {}, {b"a": 1},
    *_WORDS, *map(hiredis.ReplyError, _ERRORS),
)  # fmt: skip


def like(reply: Any) -> st.SearchStrategy[Any]:
    """A reply of the shape of another one, parts of which are something else."""
    same: st.SearchStrategy[Any]
    other: st.SearchStrategy[Any]
    if isinstance(reply, list) and reply:
        same = st.tuples(*map(like, reply)).map(list)
        other = st.lists(st.sampled_from(reply) | replies, max_size=len(reply) + 1)
    elif isinstance(reply, dict):
        same = st.fixed_dictionaries({key: like(each) for key, each in reply.items()})
        other = st.dictionaries(st.sampled_from(list(reply)) | _bytes, replies)
    elif isinstance(reply, int):
        same, other = st.just(reply), _numbers
    else:
        same, other = st.just(reply), _bytes
    return st.one_of(same, same, same, other, replies)


def spoiled(reply: Any, random: Random) -> Any:
    """A reply in which one part is something else, chosen by chance."""
    if isinstance(reply, list) and reply and random.random() < 0.8:
        at = random.randrange(len(reply))
        if random.random() < 0.2:
            return reply[:at] + reply[at + 1 :]
        return [*reply[:at], spoiled(reply[at], random), *reply[at + 1 :]]
    if isinstance(reply, dict) and reply and random.random() < 0.8:
        name = random.choice(list(reply))
        return reply | {name: spoiled(reply[name], random)}
    return random.choice(_INSTEAD)


def written(reply: Any) -> bytes:  # noqa: PLR0911 - one for each type
    """A reply as a server writes it."""
    match reply:
        case None:
            return b"_\r\n"
        case bool():
            return b"#t\r\n" if reply else b"#f\r\n"
        case int():
            return b":%d\r\n" % reply
        case float():
            return b",%b\r\n" % repr(reply).encode()
        case bytes():
            return b"$%d\r\n%b\r\n" % (len(reply), reply)
        case hiredis.ReplyError():
            return b"-%b\r\n" % str(reply).encode("utf-8", "replace").translate(None, b"\r\n")
        case dict():
            pairs = b"".join(written(key) + written(each) for key, each in reply.items())
            return b"%%%d\r\n%b" % (len(reply), pairs)
        case list():
            kind = b">" if isinstance(reply, hiredis.PushNotification) else b"*"
            return b"%b%d\r\n%b" % (kind, len(reply), b"".join(map(written, reply)))
    raise TypeError(type(reply).__name__)


UNREADABLE = (
    b"\0", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x16\x03\x01", b"*-2\r\n", b"$x\r\n", b":9e9\r\n",
    b"%1\r\n*0\r\n:1\r\n", b"*1\r\n" * 50, b"!3\r\nERR\r\n", b"$?\r\n", b"=3\r\nabc\r\n", b"(x\r\n",
    b"*99999999999\r\n", b"$9223372036854775808\r\n", b"+" + b"x" * 70_000, b"$5\r\nab\r\ncd",
)  # fmt: skip
UNFINISHED = (b"$99999999999\r\nab", b"*2\r\n:1\r\n", b"+OK", b"-ERR", b">3\r\n", b"*1000\r\n", b"")

wire = (
    replies.map(written)
    | st.lists(replies.map(written), min_size=2, max_size=3).map(b"".join)
    | st.sampled_from(UNREADABLE + UNFINISHED)
    | st.binary(max_size=40)
)
"""What comes in place of one reply: another, several, none, or no RESP."""


class Frames:
    """Cuts what a server sends into whole replies, each as it was sent."""

    def __init__(self) -> None:
        self._data = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The replies that are whole by now."""
        self._data += data
        found = []
        while (end := _end_of(self._data, 0)) is not None:
            found.append(self._data[:end])
            self._data = self._data[end:]
        return found


def _end_of(data: bytes, at: int) -> int | None:
    line_end = data.find(b"\r\n", at)
    if line_end < 0:
        return None
    kind, head, after = data[at : at + 1], data[at + 1 : line_end], line_end + 2
    if kind in b"$=!":
        end = after + int(head) + 2 if int(head) >= 0 else after
        return end if end <= len(data) else None
    if kind not in b"*%~>|":
        return after
    parts = max(int(head), 0) * (2 if kind in b"%|" else 1) + (kind == b"|")
    for _ in range(parts):
        end_of_part = _end_of(data, after)
        if end_of_part is None:
            return None
        after = end_of_part
    return after
