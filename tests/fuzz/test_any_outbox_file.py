"""Files in an outbox that are anything: what is whole is taken in, and what is not is told."""

from __future__ import annotations

import os
import shutil
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.effort import effort
from tests.fuzz.strategies import damaged, documents

from aragora_redis.state.revocations.outbox_file import OutboxFile, header_of
from aragora_redis.tokens.entry import DAY, DAYS, PARDONED, SCORES, Entry
from aragora_redis.tokens.lines import entry_of, joined, line_of, sealed

TODAY = int(time.time() // DAY)
HEADER = sealed(header_of("aa", "p"))

entries = st.builds(
    Entry,
    st.integers(TODAY, DAYS - 1),
    st.binary(min_size=8, max_size=8),
    st.integers(0, PARDONED - 1),
    st.text(max_size=20),
) | st.builds(
    Entry,
    st.integers(TODAY, DAYS - 1),
    st.binary(min_size=16, max_size=16),
    st.integers(PARDONED, SCORES - 1),
)


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """A file as it was written, but for the damage."""
    lines = [line_of(entry) for entry in draw(st.lists(entries, max_size=6))]
    whole = HEADER + b"".join(lines)
    return draw(st.just(whole) | damaged(whole) | damaged(whole).flatmap(damaged))


def whole_entries(content: bytes) -> list[Entry]:
    """What must be found: the lines that are as `line_of` writes them."""
    lines = content.splitlines(keepends=True)
    found = [entry_of(line) for line in content.split(b"\n") if line and line + b"\n" in lines]
    return list(joined(each for each in found if each is not None))


def opened(directory, boot):
    return OutboxFile(directory, boot, fingerprint="aa", prefix="p", today=lambda: TODAY)


def left(directory, content, name="dead.outbox"):
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700)
    path = directory / name
    path.write_bytes(content)
    path.chmod(0o600)
    return path


def adopted(directory, boot):
    file = opened(directory, boot)
    try:
        return file.adopt()
    finally:
        file.close()


@effort(40)
@given(files())
def test_what_is_whole_is_taken_in_and_stays(tmp_path, content):
    directory = tmp_path / "outbox"
    path = left(directory, content)
    found = adopted(directory, "heir")
    assert not found.unread
    if found.foreign:
        assert path.read_bytes() == content, "it is left as it was"
        return
    wanted = whole_entries(content)
    assert set(wanted) <= set(found.entries)
    if not path.exists() and len(found.entries) < content.count(b"\n") - 1:
        assert found.damaged or len(wanted) < content.count(b"\n") - 1
    assert sorted(adopted(directory, "next").entries) == sorted(found.entries)


@effort(40)
@given(
    st.binary(max_size=200)
    | st.dictionaries(st.sampled_from(["outbox", "key", "prefix", "day", "crc"]), documents).map(
        lambda fields: sealed({name: repr(each)[:50] for name, each in fields.items()})
    )
    | st.lists(st.binary(max_size=40), max_size=4).map(b"\n".join)
    | st.integers(1, 40_000).map(lambda size: b"x" * size)
)
def test_what_is_no_outbox(tmp_path, content):
    directory = tmp_path / "outbox"
    path = left(directory, content)
    found = adopted(directory, "heir")
    assert found.entries == whole_entries(content)
    assert not content.strip() or found.damaged or found.foreign
    assert path.exists() is bool(found.foreign)


@effort(30)
@given(files(), st.sampled_from(["bb", ""]), st.sampled_from(["p", "q"]))
def test_what_is_of_another_owner_is_left_as_it_is(tmp_path, content, key, prefix):
    directory = tmp_path / "outbox"
    others = content.replace(HEADER, sealed(header_of(key, prefix)), 1)
    path = left(directory, others)
    found = adopted(directory, "heir")
    if content.startswith(HEADER):
        assert found.foreign
        assert not found.entries
        assert path.read_bytes() == others


@pytest.mark.parametrize("what", ["link", "directory", "fifo", "loop", "odd name", "others may"])
def test_what_is_no_plain_file(tmp_path, what):
    directory = tmp_path / "outbox"
    path = left(directory, HEADER)
    path.unlink()
    match what:
        case "link":
            path.symlink_to("/etc/passwd")
        case "directory":
            path.mkdir()
        case "fifo":
            os.mkfifo(path, 0o600)
        case "loop":
            path.symlink_to(path)
        case "odd name":
            path = directory / "\udcff\n.outbox"
            path.mkdir()
        case _:
            path.write_bytes(HEADER)
            path.chmod(0o644)
    found = adopted(directory, "heir")
    assert found.foreign or found.unread
    assert os.path.lexists(path)
