"""The pure parts of `make scale`: tables, and what is read out of a recording."""

from __future__ import annotations

import pytest
from benchmarks.scale.findings import Table, told_of
from benchmarks.scale.recording import Chunk, bytes_of, parsed

from aragora_redis.link.pipe import pack


@pytest.mark.parametrize(
    ("cell", "told"),
    [(1_000_000, "1 000 000"), (1234.5, "1 234"), (99.94, "99.9"), (0.01234, "0.0123"), ("x", "x")],
    ids=str,
)
def test_a_figure_has_the_digits_that_tell_something(cell, told):
    assert told_of(cell) == told


def test_a_table_is_one_of_markdown():
    table = Table("What it takes", ("instances", "ms"), [(10, 1.5)])
    assert table.markdown() == "What it takes:\n\n| instances | ms |\n| --- | --- |\n| 10 | 1.5 |\n"


@pytest.mark.parametrize("cut", range(0, 60, 7), ids=str)
def test_commands_are_read_whatever_came_at_once(cut):
    commands = (("SET", "key", b"a\r\n$3\r\nb"), ("PING",), ("GET", ""))
    data = b"".join(map(pack, commands))
    first, left = parsed(data[:cut])
    second, rest = parsed(left + data[cut:])
    expected = ((b"SET", b"key", b"a\r\n$3\r\nb"), (b"PING",), (b"GET", b""))
    assert (first + second, rest) == (expected, b"")


def test_the_size_of_what_was_written_is_about_that_on_the_wire():
    command = (b"HMGET", b"key", b"nonce", b"rid")
    assert bytes_of([Chunk(0.0, (command,))]) == pytest.approx(len(pack(command)), rel=0.1)
