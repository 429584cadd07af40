"""What requests have changed of a session, and what is left of it where others were faster."""

from __future__ import annotations

import pytest

from aragora_redis.sessions.data import encode
from aragora_redis.web.changes import Changes, changes


def test_only_what_differs_is_written():
    read = encode({"a": 1, "b": 2, "c": [1]})
    data = {"a": 1, "b": 3, "d": None}
    assert changes(read, data, encode(data)) == ({"b": 3, "d": None}, ["c"])


@pytest.mark.parametrize(
    ("made", "newer", "left"),
    [
        (Changes({"a": 2}, ["b"]), {"a": 1, "b": 1, "c": 9}, Changes({"a": 2}, ["b"])),
        (Changes({"a": 2}, ["b"]), {"a": 1}, Changes({"a": 2}, [])),
        (Changes({}, ["b"]), {"a": 9}, Changes({}, [])),
        (Changes({}, ["b"]), {"a": 1, "b": 2}, None),
        (Changes({"a": 2}, ["b"]), {"a": 3}, None),
        (Changes({"a": 2}, []), {"a": 2}, None),
        (Changes({"a": 2}, []), {}, None),
    ],
    ids=["others", "removed-by-both", "nothing", "set-again", "set", "counted", "removed"],
)
def test_what_is_left_where_another_request_has_changed_the_session(made, newer, left):
    read = encode({"a": 1, "b": 1})
    assert made.onto(newer, read, overwrite=False) == left
    gone = [name for name in made.unset if name in newer]
    assert made.onto(newer, read, overwrite=True) == Changes(made.set, gone)
