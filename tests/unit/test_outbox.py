"""The outbox on disk: torn, altered, locked, full, taken away, and adopted."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.integration.fleet import until

from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.events import Event, Events, OutboxAdopted, OutboxKept, OutboxTrouble
from aragora_redis.link.supervision import supervised
from aragora_redis.settings import Settings, from_env
from aragora_redis.settings.files import reason_unsafe
from aragora_redis.settings.model import TokenSettings
from aragora_redis.state.revocations import outbox_file
from aragora_redis.state.revocations.outbox import Outbox
from aragora_redis.state.revocations.outbox_file import OutboxFile
from aragora_redis.state.shared import SharedState
from aragora_redis.state.status import OnDisk
from aragora_redis.testing import FakeClock, memory_state
from aragora_redis.tokens.entry import DAY, Entry
from aragora_redis.tokens.lines import entry_of, line_of, sealed

TODAY = int(time.time() // DAY)


def entry(number, score=1, day=TODAY, note=""):
    return Entry(day, number.to_bytes(8, "big"), score, note)


@pytest.fixture
def outbox(tmp_path):
    made = []

    def make(boot="boot", *, directory=tmp_path / "outbox", fingerprint="aa", **options):
        today = options.pop("today", lambda: None)
        file = OutboxFile(
            directory, boot, fingerprint=fingerprint, prefix="p", today=today, **options
        )
        made.append(file)
        return file

    yield make
    for file in made:
        file.close()


def test_a_line_says_what_was_written_or_nothing():
    wanted = entry(7, 123, note='j\tann\twhy "\n" é')
    line = line_of(wanted)
    assert entry_of(line) == wanted
    assert line.count(b"\n") == 1
    for at in range(len(line) - 1):
        for bit in (1, 0x80):
            spoilt = line[:at] + bytes([line[at] ^ bit]) + line[at + 1 :]
            assert entry_of(spoilt) is None, "a flipped bit is seen"
        assert entry_of(line[:at]) is None


def test_what_a_closed_or_dead_one_wrote_is_adopted_once(outbox, tmp_path):
    first = outbox("first")
    first.append([entry(1), entry(2, note="why")])
    first.append([entry(1, 5)])
    assert (tmp_path / "outbox").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "outbox" / "first.outbox").stat().st_mode & 0o777 == 0o600
    second = outbox("second")
    assert second.adopt().files == 0, "its instance lives"
    first.close()
    found = second.adopt()
    assert sorted(found.entries) == [entry(1, 5), entry(2, note="why")]
    assert second.adopt().files == 0
    second.close()
    assert sorted(outbox("third").adopt().entries) == sorted(found.entries)
    assert [path.name for path in (tmp_path / "outbox").iterdir()] == ["third.outbox"]


def test_a_torn_end_and_a_spoilt_line_cost_themselves_alone(outbox, tmp_path):
    first = outbox("first")
    first.append([entry(number) for number in range(4)])
    first.close()
    path = tmp_path / "outbox" / "first.outbox"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b'"score":1', b'"score":9')
    path.write_bytes(b"".join(lines)[:-5])
    found = outbox("second").adopt()
    assert sorted(found.entries) == [entry(0), entry(2)]
    assert found.damaged == 2


def test_rubbish_is_no_outbox_and_harms_nobody(outbox, tmp_path):
    first = outbox("first")
    first.append([entry(1)])
    directory = tmp_path / "outbox"
    for name, text in (("empty", b""), ("zeros", b"\0" * 100_000), ("words", b"hello\nyou\n")):
        (directory / f"{name}.outbox").write_bytes(text)
        (directory / f"{name}.outbox").chmod(0o600)
    (directory / "link.outbox").symlink_to("/etc/passwd")
    os.mkfifo(directory / "fifo.outbox", 0o600)
    (directory / "dir.outbox").mkdir()
    (directory / "open.outbox").write_bytes(line_of(entry(66)))
    (directory / "open.outbox").chmod(0o644)
    (directory / "gone.outbox.new").write_bytes(line_of(entry(67)))
    found = outbox("second").adopt()
    assert found.entries == []
    assert not (directory / "gone.outbox.new").exists(), "it was never in force"
    assert "open.outbox" in "".join(found.foreign), "anybody may have written that"
    assert (directory / "link.outbox").is_symlink()


@pytest.mark.parametrize("other", [{"fingerprint": "bb"}])
def test_what_another_key_has_digested_is_left_alone(outbox, other):
    first = outbox("first", **other)
    first.append([entry(1)])
    first.close()
    found = outbox("second").adopt()
    assert (found.entries, len(found.foreign)) == ([], 1)
    assert outbox("third", **other).adopt().entries == [entry(1)]


def test_what_another_format_has_written_is_left_alone_and_said(outbox, tmp_path):
    file = tmp_path / "outbox" / "old.outbox"
    outbox("first").append([entry(1)])
    file.write_bytes(sealed({"outbox": 1, "key": "aa", "prefix": "p"}) + line_of(entry(2)))
    file.chmod(0o600)
    found = outbox("second").adopt()
    assert (found.entries, found.foreign) == (
        [],
        [f"{file} is left alone: its format is not 2"],
    )
    assert file.exists()


def test_what_has_expired_goes(outbox, tmp_path):
    today = [TODAY - 1]
    file = outbox(today=lambda: today[0])
    file.append([entry(number, day=TODAY - 2) for number in range(100)] + [entry(1)])
    size = (tmp_path / "outbox" / "boot.outbox").stat().st_size
    file.compact()
    assert (file.entries, file.size) == (101, size)
    today[0] = TODAY
    file.compact()
    assert (tmp_path / "outbox" / "boot.outbox").stat().st_size == file.size < size / 20
    assert file.entries == 1
    file.close()
    assert outbox("next").adopt().entries == [entry(1)]


def counted(calls, real, *args):
    calls.append(args)
    return real(*args)


def test_it_has_an_end_and_makes_room_for_what_matters(outbox, tmp_path, monkeypatch):
    today = [TODAY - 1]
    file = outbox(limit=4000, today=lambda: today[0])
    file.append([entry(number, day=TODAY - 2) for number in range(30)])
    today[0] = TODAY
    file.append([entry(number) for number in range(30)])
    reads: list[object] = []
    monkeypatch.setattr(outbox_file, "_contents", partial(counted, reads, outbox_file._contents))
    for _ in range(3):
        with pytest.raises(OSError, match="4000 bytes"):
            file.append([entry(number) for number in range(30, 60)])
        file.compact()
    assert len(reads) == 1, "to read it again would bring nothing"
    file.append([entry(30)])
    with pytest.raises(OSError, match="4000 bytes"):
        file.append([entry(number) for number in range(31, 61)])
    assert len(reads) == 2
    assert (tmp_path / "outbox" / "boot.outbox").stat().st_size <= 4000
    file.close()
    small = outbox("next", limit=1000)
    assert len(small.adopt().entries) == 31, "what does not fit is published all the same"
    assert small.adopt().files == 0, "and not each minute"
    small.close()
    assert len(outbox("third").adopt().entries) == 31


def test_a_disk_without_room_is_found_out_by_a_trial_that_leaves_nothing(
    outbox, tmp_path, monkeypatch
):
    box = outbox("one")
    box.append([entry(1)])
    path = tmp_path / "outbox" / "one.outbox"
    before = path.read_bytes()
    box.probe()
    assert path.read_bytes() == before
    write = os.write

    def without_room(descriptor, data):
        if len(data) >= 4096:
            raise OSError(errno.ENOSPC, "no room")
        return write(descriptor, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", without_room)
        with pytest.raises(OSError, match="no room"):
            box.probe()
    assert path.read_bytes() == before
    box.append([entry(2)])
    box.close()
    found = outbox("two").adopt()
    assert (sorted(found.entries), found.damaged) == ([entry(1), entry(2)], 0)


def test_a_directory_that_is_taken_away_is_noticed_and_made_again(outbox, tmp_path):
    file = outbox()
    file.append([entry(1)])
    (tmp_path / "outbox").rename(tmp_path / "elsewhere")
    file.append([entry(2)])
    file.close()
    assert sorted(outbox("next").adopt().entries) == [entry(1), entry(2)]


@pytest.mark.parametrize("spoil", ["link", "open", "file"])
def test_a_directory_that_others_may_touch_is_refused(outbox, tmp_path, spoil):
    directory = tmp_path / "outbox"
    if spoil == "link":
        (tmp_path / "real").mkdir(mode=0o700)
        directory.symlink_to(tmp_path / "real")
    elif spoil == "open":
        directory.mkdir()
        directory.chmod(0o750)
    else:
        directory.write_text("x")
    assert reason_unsafe(directory)
    with pytest.raises(OSError):  # noqa: PT011 - of several kinds
        outbox().append([entry(1)])


def test_a_forked_child_does_not_keep_the_lock_of_its_parent(tmp_path):
    """The child goes on when the parent has died; what the parent kept is adopted all the same."""
    program = f"""
import os, sys, time
from pathlib import Path
from aragora_redis.state.revocations.outbox_file import OutboxFile
file = OutboxFile(Path({str(tmp_path / "outbox")!r}), "parent", fingerprint="aa", prefix="p",
                  today=lambda: None)
file.append([])
if os.fork() == 0:
    print(os.getpid(), flush=True)
    os.close(1)
    time.sleep(60)
time.sleep(0.1)
os._exit(0)
"""
    run = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True)
    child = int(run.stdout)
    try:
        heir = OutboxFile(
            tmp_path / "outbox", "heir", fingerprint="aa", prefix="p", today=lambda: None
        )
        assert heir.adopt().files == 1
        heir.close()
    finally:
        os.kill(child, 9)


async def test_a_full_disk_is_said_and_what_it_refused_is_written_later(outbox, monkeypatch):
    monkeypatch.setattr("aragora_redis.state.revocations.outbox.RETRY_AFTER", 0.05)
    real, full = os.write, True

    def write(descriptor, data):
        if full and len(data) > 60:
            raise OSError(28, "No space left on device")
        return real(descriptor, data[:60])

    monkeypatch.setattr("aragora_redis.state.revocations.outbox_file.os.write", write)
    events, said = Events(), list[Event]()
    events.subscribe(said.append)
    made = Outbox(outbox(), SYSTEM_CLOCK, events, lambda _entry: None)
    running = asyncio.create_task(made.run())
    assert [await made.keep(entry(number)) for number in range(3)] == [False] * 3
    assert said == [OutboxTrouble("No space left on device", "full")], "said once"
    full = False
    await until(lambda: made.trouble is None)
    assert said[1:] == [OutboxKept()]
    assert await made.keep(entry(3))
    running.cancel()
    await made.close()
    assert len(outbox("next").adopt().entries) == 4


async def test_a_fault_of_ours_loses_nothing_and_leaves_nobody_waiting(outbox, monkeypatch, caplog):
    monkeypatch.setattr("aragora_redis.link.supervision.PAUSE", 0.01)
    file, faults = outbox(), [RuntimeError("a fault")]
    append = file.append

    def fail(entries):
        if entries and faults:
            raise faults.pop()
        append(entries)

    monkeypatch.setattr(file, "append", fail)
    events, said = Events(), list[Event]()
    events.subscribe(said.append)
    made = Outbox(file, SYSTEM_CLOCK, events, lambda _entry: None)
    running = asyncio.create_task(supervised("the outbox", made.run))
    assert not await asyncio.wait_for(made.keep(entry(1)), 5)
    assert made.on_disk.waiting == 1
    assert said == [OutboxTrouble("RuntimeError", "error")]
    monkeypatch.setattr("aragora_redis.state.revocations.outbox.RETRY_AFTER", 0.01)
    await until(lambda: made.trouble is None)
    assert "a fault" in caplog.text
    running.cancel()
    await made.close()
    assert outbox("next").adopt().entries == [entry(1)]


async def test_a_fault_of_ours_at_the_end_leaves_the_file_to_the_next(outbox, monkeypatch):
    file = outbox()
    file.append([entry(1)])

    def fail(_entries):
        raise RuntimeError("a fault")

    monkeypatch.setattr(file, "append", fail)
    made = Outbox(file, SYSTEM_CLOCK, Events(), lambda _entry: None)
    written = made.keep(entry(2))
    with pytest.raises(RuntimeError, match="a fault"):
        await made.close()
    assert not await written
    following = outbox("next")
    await until(lambda: following.adopt().entries == [entry(1)])


async def test_an_end_waits_for_no_disk_that_hangs_and_lets_go_once_it_answers(outbox, monkeypatch):
    answers, real = threading.Event(), os.fsync

    def fsync(descriptor):
        assert answers.wait(20)
        real(descriptor)

    file = outbox()
    file.append([])
    monkeypatch.setattr("aragora_redis.state.revocations.outbox_file.os.fsync", fsync)
    made = Outbox(file, SYSTEM_CLOCK, Events(), lambda _entry: None)
    made.keep(entry(1))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(made.close(), 0.05)
    following = outbox("next")
    answers.set()
    await until(lambda: following.adopt().entries == [entry(1)])


async def test_what_hangs_at_an_end_though_nothing_waits_lets_go_of_the_file_too(
    outbox, monkeypatch
):
    hangs, answers, let_go = threading.Event(), threading.Event(), threading.Event()
    file = outbox()
    close = file.close

    def adopt():
        hangs.set()
        assert answers.wait(20)

    def closed():
        close()
        let_go.set()

    monkeypatch.setattr(file, "adopt", adopt)
    monkeypatch.setattr(file, "close", closed)
    made = Outbox(file, SYSTEM_CLOCK, Events(), lambda _entry: None)
    running = asyncio.create_task(made.run())
    await until(hangs.is_set)
    running.cancel()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(made.close(), 0.05)
    answers.set()
    await until(let_go.is_set)


async def test_what_found_no_room_to_wait_for_the_disk_is_said_when_it_is_back(outbox, monkeypatch):
    monkeypatch.setattr("aragora_redis.state.revocations.outbox.RETRY_AFTER", 0.05)
    monkeypatch.setattr("aragora_redis.state.revocations.outbox.OWED_LIMIT", 4)
    file, tried = outbox(), list[int]()
    append = file.append

    def refuse(entries):
        tried.append(len(entries))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(file, "append", refuse)
    events, said = Events(), list[Event]()
    events.subscribe(said.append)
    made = Outbox(file, SYSTEM_CLOCK, events, lambda _entry: None)
    running = asyncio.create_task(made.run())
    assert [await made.keep(entry(number)) for number in range(7)] == [False] * 7
    before = len(tried)
    await until(lambda: len(tried) > before + 1)  # a try loses none of those that wait
    monkeypatch.setattr(file, "append", append)
    await until(lambda: made.trouble is None)
    assert said[1:] == [OutboxKept(missing=3)]
    assert await made.keep(entry(7))
    running.cancel()
    await made.close()
    written = {each.member for each in outbox("next").adopt().entries}
    assert written == {entry(number).member for number in (3, 4, 5, 6, 7)}, "the oldest are not"


async def test_trouble_is_said_before_there_is_anything_to_lose_and_ends_by_itself(
    outbox, monkeypatch
):
    monkeypatch.setattr("aragora_redis.state.revocations.outbox.TIDY_EVERY", 0.05)
    file, said = outbox(), list[Event]()
    events = Events()
    events.subscribe(said.append)
    made = Outbox(file, SYSTEM_CLOCK, events, lambda _entry: None)
    running = asyncio.create_task(made.run())
    await until(lambda: made.on_disk.size > 0)
    file._directory.chmod(0o750)
    await until(lambda: said)
    file._directory.chmod(0o700)
    await until(lambda: len(said) > 1)
    assert said == [OutboxTrouble("others may look into it; chmod 700", "error"), OutboxKept()]
    running.cancel()
    await made.close()
    assert list(file._directory.iterdir()) == [], "what holds nothing does not stay"


async def test_what_the_dead_left_and_cannot_be_read_is_said_until_it_can(outbox, monkeypatch):
    monkeypatch.setattr("aragora_redis.state.revocations.outbox.TIDY_EVERY", 0.05)
    dead = outbox("dead")
    dead.append([entry(1)])
    dead.close()
    real, failing = os.open, True

    def open_(path, *args, **kwargs):
        if failing and path == "dead.outbox":
            raise OSError(5, "Input/output error")
        return real(path, *args, **kwargs)

    monkeypatch.setattr("aragora_redis.state.revocations.outbox_file.os.open", open_)
    events, said, taken = Events(), list[Event](), list[Entry]()
    events.subscribe(said.append)
    made = Outbox(outbox("heir"), SYSTEM_CLOCK, events, taken.append)
    running = asyncio.create_task(made.run())
    await until(lambda: said)
    assert await made.keep(entry(2)), "what is revoked now is kept"
    assert made.on_disk.trouble == "unread"
    failing = False
    await until(lambda: len(said) > 2)
    trouble, adopted, kept = said
    assert isinstance(trouble, OutboxTrouble)
    assert "dead.outbox: Input/output error" in trouble.reason
    assert (adopted, kept, taken) == (OutboxAdopted(1, 1, 0), OutboxKept(), [entry(1)])
    running.cancel()
    await made.close()


async def test_without_redis_it_carries_revocations_over_a_restart(tmp_path):
    of_outbox = Settings(tokens=TokenSettings(outbox=tmp_path / "outbox"))
    async with memory_state(settings=of_outbox) as state:
        receipts = await asyncio.gather(
            *(state.tokens.revoke(f"t{n}", expires_at=time.time() + 60) for n in range(200))
        )
        assert {receipt.outbox for receipt in receipts} == {"disk"}
    said: list[Event] = []
    later = memory_state(settings=of_outbox)
    later.events.subscribe(said.append)
    async with later as state:
        assert all(state.tokens.is_revoked({"jti": f"t{n}"}) for n in range(200))
        assert not state.tokens.is_revoked({"jti": "other"})
        assert state.tokens.outbox_depth == 0, "there is nobody to whom anything is owed"
    assert said == [OutboxAdopted(1, 200, 0)]


async def test_without_redis_what_was_imported_outlives_a_restart_too(tmp_path):
    async with memory_state() as elsewhere:
        await elsewhere.tokens.revoke("x", expires_at=time.time() + 60, reason="why")
        exported = b"".join([piece async for piece in elsewhere.tokens.export_all()])
    of_outbox = Settings(tokens=TokenSettings(outbox=tmp_path / "outbox"))
    async with memory_state(settings=of_outbox) as state:
        await state.tokens.import_all(exported.splitlines(keepends=True))
    async with memory_state(settings=of_outbox) as state:
        assert await state.tokens.reason({"jti": "x"}) == "why"


async def test_a_disk_that_hangs_holds_nobody_up(outbox, monkeypatch):
    hangs, real = threading.Event(), os.fsync

    def fsync(descriptor):
        assert hangs.wait(20)
        real(descriptor)

    monkeypatch.setattr("aragora_redis.state.revocations.outbox_file.os.fsync", fsync)
    of_outbox = Settings(tokens=TokenSettings(outbox=outbox()._directory))
    async with memory_state(settings=of_outbox) as state:
        began = time.monotonic()
        receipt = await state.tokens.revoke("x", expires_at=time.time() + 60, within=0.2)
        assert time.monotonic() - began < 1
        assert (receipt.outbox, state.tokens.is_revoked({"jti": "x"})) == ("memory", True)
        hangs.set()
        receipt = await state.tokens.revoke("y", expires_at=time.time() + 60)
        assert receipt.outbox == "disk"


async def test_while_the_disk_hangs_nobody_waits_and_what_it_is_owed_is_written_later(
    outbox, monkeypatch
):
    monkeypatch.setattr("aragora_redis.state.revocations.outbox.RETRY_AFTER", 0.05)
    answers, real, clock = threading.Event(), os.fsync, FakeClock()
    answers.set()

    def fsync(descriptor):
        assert answers.wait(20)
        real(descriptor)

    monkeypatch.setattr("aragora_redis.state.revocations.outbox_file.os.fsync", fsync)
    events, said = Events(), list[Event]()
    events.subscribe(said.append)
    made = Outbox(outbox(), clock, events, lambda _entry: None)
    running = asyncio.create_task(made.run())
    assert await made.keep(entry(9)), "behind what is done at the start"
    # Only now: a busy machine may take longer for what is done at the start.
    monkeypatch.setattr("aragora_redis.state.revocations.outbox.WRITE_LIMIT", 0.05)
    answers.clear()
    first = made.keep(entry(0))
    await until(lambda: said)
    assert said == [OutboxTrouble("the disk does not answer", "hung")]
    clock.advance(3)
    later = [made.keep(entry(number)) for number in range(1, 4)]
    assert [each.done() and each.result() for each in later] == [False] * 3
    size = made.on_disk.size
    assert made.on_disk == OnDisk(entries=1, size=size, waiting=4, delay=3.0, trouble="hung")
    answers.set()
    assert await first
    await until(lambda: made.trouble is None)
    assert await made.keep(entry(4))
    assert (made.on_disk.entries, made.on_disk.waiting, made.on_disk.delay) == (6, 0, 0)
    running.cancel()
    await made.close()
    assert len(outbox("next").adopt().entries) == 6


async def test_a_start_waits_for_what_the_dead_left_while_the_disk_gives_it(outbox, monkeypatch):
    """A full file takes a processor for a quarter of a minute."""
    monkeypatch.setattr("aragora_redis.state.revocations.outbox.START_LIMIT", 0.1)
    monkeypatch.setattr("aragora_redis.state.revocations.outbox.TIDY_LIMIT", 0.1)
    file, said, release = outbox(), list[Event](), threading.Event()
    real, events = file.adopt, Events()
    events.subscribe(said.append)

    def adopt():
        while not release.wait(0.01):
            file.steps += 1
        return real()

    monkeypatch.setattr(file, "adopt", adopt)
    made = Outbox(file, SYSTEM_CLOCK, events, lambda _entry: None)
    running = asyncio.create_task(made.run())
    waiting = asyncio.create_task(made.wait_adopted())
    await asyncio.wait({waiting}, timeout=0.5)
    assert not waiting.done()
    release.set()
    await waiting
    assert (made.adopted, said) == (True, [])
    running.cancel()
    await made.close()


async def test_what_a_disk_refuses_is_not_offered_again_with_each_new_entry(outbox, monkeypatch):
    file, offered = outbox(), list[int]()

    def append(entries):
        offered.append(len(entries))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(file, "append", append)
    monkeypatch.setattr("aragora_redis.state.revocations.outbox.PIECE", 10)
    monkeypatch.setattr("aragora_redis.state.revocations.outbox.RETRY_AFTER", 0.3)
    made = Outbox(file, SYSTEM_CLOCK, Events(), lambda _entry: None)
    running = asyncio.create_task(made.run())
    assert [await made.keep(entry(number)) for number in range(200)] == [False] * 200
    assert offered == [0, 1], "at the start, and the first"
    await until(lambda: len(offered) > 2)
    assert offered[2:] == [10], "no more than a piece of it"
    running.cancel()
    await made.close()


def test_after_a_failed_fsync_nothing_is_appended_to_that_file(outbox, monkeypatch):
    """What the page cache held may be marked clean and lost."""
    file = outbox()
    file.append([entry(1)])
    real, failing = os.fsync, [OSError(5, "Input/output error")]

    def fsync(descriptor):
        if failing:
            raise failing.pop()
        real(descriptor)

    monkeypatch.setattr("aragora_redis.state.revocations.outbox_file.os.fsync", fsync)
    before = (file._directory / file._name).stat().st_ino
    with pytest.raises(OSError, match="Input/output"):
        file.append([entry(2)])
    file.append([entry(3)])
    assert (file._directory / file._name).stat().st_ino != before
    file.close()
    assert {*outbox("next").adopt().entries} >= {entry(1), entry(3)}


def test_of_many_who_adopt_at_once_each_file_goes_to_one(outbox):
    for number in range(30):
        file = outbox(f"dead{number}")
        file.append([entry(number)])
        file.close()
    heirs = [outbox(f"heir{number}") for number in range(4)]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda heir: heir.adopt(), heirs))
    assert sorted(each for one in found for each in one.entries) == [entry(n) for n in range(30)]
    assert not any(one.unread for one in found)
    for heir in heirs:
        heir.close()
    assert len(outbox("last").adopt().entries) == 30


@settings(
    max_examples=100,
    deadline=None,  # a disk is synced
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.binary(max_size=300), st.integers(0, 400), st.integers(0, 300))
def test_nothing_is_read_out_of_rubbish_that_was_not_written(outbox, rubbish, at, cut):
    whole = b"".join(line_of(entry(number)) for number in range(4))
    at = min(at, len(whole))
    file = outbox("heir")
    path = file._directory / "dead.outbox"
    file._directory.mkdir(mode=0o700, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(whole[:at] + rubbish + whole[at + cut :])
    path.chmod(0o600)
    assert {*file.adopt().entries} <= {entry(number) for number in range(4)}
    file.close()
    (file._directory / file._name).unlink(missing_ok=True)


async def test_a_clock_far_ahead_removes_nothing_from_disk_while_redis_has_not_been_asked(tmp_path):
    env = {"ARAGORA_REDIS_URL": "redis://127.0.0.1:1", "ARAGORA_TOKENS_OUTBOX": str(tmp_path / "o")}
    now = time.time()

    async def start(clock):
        state = SharedState(from_env(env), clock=clock)
        state.start()
        await until(lambda: state._outbox is not None and state._outbox.adopted)
        return state

    first = await start(SYSTEM_CLOCK)
    receipt = await first.tokens.revoke("x", expires_at=now + 60, within=0.2)
    assert receipt.outbox == "disk"
    await first.close()
    ahead = await start(Ahead())
    assert ahead._outbox is not None
    await ahead._outbox._tidy()
    await ahead.close()
    third = await start(SYSTEM_CLOCK)
    assert third.tokens.is_revoked({"jti": "x"})
    await third.close()


class Ahead:
    """A clock that is ten days ahead."""

    monotonic = staticmethod(time.monotonic)

    def wall(self):
        return time.time() + 10 * DAY
