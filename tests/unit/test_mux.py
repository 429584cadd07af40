"""One lane: batches, deadlines, suspicion, the probe, and who learns what when it breaks."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import cast

import hiredis
import pytest
from msgspec.structs import replace

from aragora_redis.clock import SYSTEM_CLOCK, ServerTime
from aragora_redis.errors import (
    DeadlineError,
    InvalidInputError,
    LinkDownError,
    LinkSilentError,
    OutcomeUnknownError,
    OverloadedError,
    Ran,
    RefusedError,
    UnexpectedReplyError,
)
from aragora_redis.events import Events
from aragora_redis.link import mux as mux_module
from aragora_redis.link import pulse
from aragora_redis.link.mux import BATCH_FLOOR, Mux
from aragora_redis.link.pipe import Lost, Pipe, ReplyHandler
from aragora_redis.link.probe import PROBE_LIMIT
from aragora_redis.link.pulse import WARM
from aragora_redis.link.replies import late_by
from aragora_redis.link.trust import FRESH
from aragora_redis.link.unsent import QUEUE_LIMIT
from aragora_redis.operation import Fence, Kind, Operation
from aragora_redis.scripts.catalog import Script

MASTER = [b"master", 0, [[b"h", b"1", b"0"]]]
BATCHABLE = Script("many", b"", "sha-many", writes=True, batchable=True)
SINGLE = Script("one", b"", "sha-one", writes=True, batchable=False)


class FakePipe:
    """Takes what is written, and answers when told to."""

    def __init__(self):
        self.closed = None
        self.writable = True
        self.writes = []
        self.handlers: deque[ReplyHandler] = deque()
        self._on_close: Callable[[str], None] = lambda _reason: None

    def on_close(self, handler):
        self._on_close = handler

    def on_read(self, handler):
        self._on_read = handler

    def send(self, data, handlers):
        reader = hiredis.Reader()
        reader.feed(data)
        commands = []
        while (command := reader.gets()) is not False:
            commands.append(command)
        self.writes.append(commands)
        self.handlers.extend(handlers)

    def answer(self, *replies):
        for reply in replies:
            self.handlers.popleft()(reply)
        self._on_read()

    def close(self, reason):
        if self.closed is not None:
            return
        self.closed = reason
        while self.handlers:
            self.handlers.popleft()(Lost(reason))
        self._on_close(reason)


class Lane:
    """A mux on a fake pipe."""

    def __init__(self, patience=0.1, *, by_slot=False):
        self.lost: list[str] = []
        self.role_faults: list[str] = []
        self.vouched_at = float("inf")
        self.mux = Mux(
            "test",
            by_slot=by_slot,
            clock=SYSTEM_CLOCK,
            events=Events(),
            patience=patience,
            role_fault=self._role_fault,
            vouched=lambda since: self.vouched_at >= since,
            on_probe=lambda: None,
            on_lost=self.lost.append,
        )
        self.pipe = FakePipe()
        self.mux.attach(cast("Pipe", self.pipe), ServerTime(SYSTEM_CLOCK.monotonic(), 5_000_000))

    def _role_fault(self, role):
        return self.role_faults[0] if self.role_faults else None if role == MASTER else "no"

    def submit(self, operation, within=1.0, **how):
        return self.mux.submit(operation, SYSTEM_CLOCK.monotonic() + within, **how)


@pytest.fixture
async def lane():
    made = Lane()
    yield made
    made.mux.close("the test is over")


def command(name, *, kind=Kind.EFFECT, fence=Fence.NONE):
    return Operation(kind=kind, keys=(), args=(name,), read=lambda r: r, fence=fence)


def item(key, *, shared=(1,), script=BATCHABLE, kind=Kind.EFFECT):
    return Operation(
        kind=kind, keys=(key,), args=(), read=lambda r: r, script=script, shared=shared
    )


def names(writes):
    return [[c[0] for c in commands] for commands in writes]


async def turn():
    for _ in range(3):
        await asyncio.sleep(0)


async def test_a_lone_operation_is_written_at_once(lane):
    lane.submit(command("A"))
    assert names(lane.pipe.writes) == [[b"A"]]


async def test_what_one_turn_of_the_loop_submits_is_one_write(lane):
    futures = [lane.submit(command(f"C{n}")) for n in range(5)]
    await turn()
    assert names(lane.pipe.writes) == [[b"C0"], [b"C1", b"C2", b"C3", b"C4"]]
    lane.pipe.answer(0, 1, 2, 3, 4)
    assert await asyncio.gather(*futures) == [0, 1, 2, 3, 4]


async def test_two_batches_are_in_flight_at_most(lane):
    futures = [lane.submit(command(f"C{n}")) for n in range(100)]
    await turn()
    assert [len(w) for w in lane.pipe.writes] == [1, 50], "half of those who wait"
    lane.pipe.answer(*range(51))
    await turn()
    assert [len(w) for w in lane.pipe.writes] == [1, 50, 24, 24], "answers make room for two"
    lane.pipe.answer(*range(24))
    await turn()
    assert [len(w) for w in lane.pipe.writes] == [1, 50, 24, 24, 1]
    while lane.pipe.handlers:
        lane.pipe.answer(0)
        await turn()
    await asyncio.gather(*futures)


async def test_few_who_wait_are_not_split(lane):
    some = [lane.submit(item(b"k")) for _ in range(BATCH_FLOOR + 2)]
    await turn()
    sizes = [int(call[2]) for write in lane.pipe.writes for call in write]
    assert sizes == [1, BATCH_FLOOR], "although half of those who wait are less"
    lane.pipe.answer([1], [1] * BATCH_FLOOR)
    await turn()
    lane.pipe.answer([1])
    assert await asyncio.gather(*some) == [1] * len(some)


async def test_operations_of_one_script_and_shared_arguments_share_a_call(lane):
    lane.submit(command("FIRST"))
    some = [lane.submit(item(b"a")), lane.submit(item(b"b")), lane.submit(item(b"c", shared=(2,)))]
    single = lane.submit(item(b"d", script=SINGLE))
    await turn()
    calls = lane.pipe.writes[1]
    assert [(c[1], c[2], c[3 : 3 + int(c[2])]) for c in calls] == [
        (b"sha-many", b"2", [b"a", b"b"]),
        (b"sha-many", b"1", [b"c"]),
        (b"sha-one", b"1", [b"d"]),
    ]
    lane.pipe.answer(b"first", [10, 11], [12], 13)
    assert [await f for f in (*some, single)] == [10, 11, 12, 13]


async def test_in_a_cluster_a_call_has_keys_of_one_slot():
    lane = Lane(by_slot=True)
    try:
        lane.submit(command("A"))
        for key in (b"{1}a", b"{2}a", b"{1}b"):
            lane.submit(Operation(Kind.JOIN, (key,), (), lambda r: r, script=BATCHABLE))
        await turn()
        _, calls = lane.pipe.writes
        assert sorted(call[2:-1] for call in calls) == [[b"1", b"{2}a"], [b"2", b"{1}a", b"{1}b"]]
    finally:
        lane.mux.close("the test is over")


async def test_what_is_asked_for_once_follows_asking_and_its_answer_is_its_own(lane):
    futures = [lane.submit(command(f"C{n}"), asking=n == 1) for n in range(3)]
    await turn()
    assert names(lane.pipe.writes) == [[b"C0"], [b"ASKING", b"C1", b"C2"]]
    lane.pipe.answer(0, b"OK", 1, 2)
    assert await asyncio.gather(*futures) == [0, 1, 2]


async def test_a_call_of_several_that_is_sent_elsewhere_is_to_be_tried_one_by_one(lane):
    """Redis 6.2 sends it where the keys that it lacks are going, though others are still here."""
    lane.submit(command("A"))
    several = [lane.submit(item(b"a")), lane.submit(item(b"b"))]
    lone = lane.submit(item(b"c"), alone=True)
    await turn()
    ask = hiredis.ReplyError("ASK 7 10.0.0.2:6379")
    lane.pipe.answer(0, ask, ask)
    for future in several:
        with pytest.raises(RefusedError, match="on their way"):
            await future
    with pytest.raises(RefusedError, match="another node"):
        await lone


async def test_one_bad_element_does_not_poison_its_call(lane):
    lane.submit(command("FIRST"))
    good, bad = lane.submit(item(b"a")), lane.submit(item(b"b"))
    await turn()
    lane.pipe.answer(b"first", [1, hiredis.ReplyError("OOM no")])
    assert await good == 1
    with pytest.raises(RefusedError, match="OOM"):
        await bad


async def test_a_server_that_refuses_one_element_as_a_replica_is_left(lane):
    """Scripts that answer for each of several store by themselves: the call as a whole is fine."""
    lane.submit(command("FIRST"))
    looked, took = lane.submit(item(b"a")), lane.submit(item(b"b"))
    await turn()
    lane.pipe.answer(b"first", [1, hiredis.ReplyError("READONLY You can't write")])
    assert await looked == 1
    with pytest.raises(RefusedError, match="READONLY"):
        await took
    assert lane.lost == ["the server answered READONLY"]


@pytest.mark.parametrize("reply", [b"odd", [1], [1, 2, 3]])
async def test_a_reply_of_another_shape_is_a_typed_error(lane, reply):
    lane.submit(command("FIRST"))
    futures = [lane.submit(item(b"a")), lane.submit(item(b"b"))]
    await turn()
    lane.pipe.answer(b"first", reply)
    for future in futures:
        with pytest.raises(UnexpectedReplyError):
            await future


async def test_not_after_is_the_deadline_on_the_servers_clock_and_joins_have_none(lane):
    lane.submit(item(b"a"), within=1.0)
    lane.submit(item(b"b", kind=Kind.JOIN))
    await turn()
    effect, join = (writes[0][4] for writes in lane.pipe.writes)
    assert 6_050_000 <= int(effect) <= 6_250_000
    assert join == b"0"


@pytest.mark.parametrize(
    ("kind", "script", "told"),
    [
        (Kind.EFFECT, SINGLE, "cannot run later"),
        (Kind.JOIN, SINGLE, "may still run"),
        (Kind.EFFECT, None, "may still run"),
    ],
)
async def test_who_is_not_answered_is_told_how_long_it_may_run(lane, kind, script, told):
    asked = item(b"a", kind=kind, script=script) if script else command("XADD", kind=kind)
    future = lane.submit(asked, within=0.01)
    with pytest.raises(OutcomeUnknownError, match=told):
        await future


async def test_a_call_runs_no_later_than_the_first_of_its_callers_was_told(lane):
    lane.submit(command("FIRST"))
    for within in (30.0, 1.0, 2.0):
        lane.submit(item(b"a"), within=within)
    await turn()
    assert 6_050_000 <= int(lane.pipe.writes[1][0][6]) <= 6_250_000


async def test_a_late_refusal_brings_the_servers_clock(lane):
    future = lane.submit(item(b"a"))
    lane.pipe.answer(hiredis.ReplyError("LATE 9000000"))
    with pytest.raises(RefusedError) as refused:
        await future
    assert (refused.value.code, refused.value.ran) == ("LATE", Ran.NO)
    assert lane.mux.server_time.micros == 9_000_000


async def test_i4_a_sent_effect_is_unknown_at_its_deadline(lane):
    future = lane.submit(command("A"), within=0.02)
    with pytest.raises(OutcomeUnknownError):
        await asyncio.wait_for(future, 0.08)


async def test_i5_a_read_and_what_was_not_sent_did_not_run(lane):
    read = lane.submit(command("A", kind=Kind.READ), within=0.02)
    lane.pipe.writable = False
    unsent = lane.submit(command("B"), within=0.02)
    for future in (read, unsent):
        with pytest.raises(DeadlineError) as missed:
            await asyncio.wait_for(future, 0.08)
        assert missed.value.ran is Ran.NO
    assert names(lane.pipe.writes) == [[b"A"]]


async def test_a_shorter_deadline_behind_a_longer_one_is_kept(lane):
    lane.submit(command("A"), within=5)
    with pytest.raises(OutcomeUnknownError):
        await asyncio.wait_for(lane.submit(command("B"), within=0.02), 0.08)


async def test_cancelled_before_the_write_means_never_sent(lane):
    lane.submit(command("A"))
    cancelled = lane.submit(command("B"))
    lane.submit(command("C"))
    cancelled.cancel()
    await turn()
    assert names(lane.pipe.writes) == [[b"A"], [b"C"]]


async def test_the_queue_is_bounded(lane):
    lane.pipe.writable = False
    for _ in range(QUEUE_LIMIT):
        lane.submit(command("A"))
    with pytest.raises(OverloadedError):
        lane.submit(command("A"))


async def test_i2_a_silent_lane_answers_at_once_and_recovers(lane):
    first = lane.submit(command("A"), within=5)
    await asyncio.sleep(0.12)
    with pytest.raises(LinkDownError):
        lane.submit(command("B"))
    lane.pipe.answer(b"late but there")
    assert await first
    lane.submit(command("C"))
    assert names(lane.pipe.writes) == [[b"A"], [b"C"]]


async def test_i7_what_waits_when_a_lane_falls_silent_is_not_told_that_redis_has_gone(lane):
    """A trial call whose place was asked for then was made beside those that Redis had allowed."""
    for name in ("A", "B"):
        lane.submit(command(name), within=5)
        await turn()
    queued = lane.submit(command("C"), within=5)
    with pytest.raises(LinkSilentError):
        await asyncio.wait_for(queued, 1)
    assert names(lane.pipe.writes) == [[b"A"], [b"B"]]


async def test_a_lane_that_stays_silent_is_closed(lane, monkeypatch):
    monkeypatch.setattr(mux_module, "DEAD_AFTER", 0.15)
    future = lane.submit(command("A"), within=5)
    with pytest.raises(OutcomeUnknownError):
        await asyncio.wait_for(future, 1)
    assert lane.lost
    assert lane.mux.down is not None


async def test_who_asks_while_it_is_down_is_told_what_helps_and_nothing_else(lane):
    lane.pipe.close("reset")
    lane.mux.close("h:1 refused the credentials", remedy="check ARAGORA_REDIS_PASSWORD")
    told = "h:1 refused the credentials (check ARAGORA_REDIS_PASSWORD)"
    assert lane.mux.down == told
    with pytest.raises(LinkDownError) as down:
        lane.submit(command("A"))
    assert str(down.value) == f"there is no usable connection to Redis: {told}"


async def test_i5_a_broken_connection_is_unknown_for_what_was_sent_only(lane):
    sent = lane.submit(command("A"))
    queued = lane.submit(command("B"))
    lane.pipe.close("reset")
    with pytest.raises(OutcomeUnknownError):
        await sent
    with pytest.raises(LinkDownError) as down:
        await queued
    assert down.value.ran is Ran.NO
    await turn()
    assert names(lane.pipe.writes) == [[b"A"]]


async def test_i3_a_success_that_comes_too_late_is_not_believed(lane):
    lane.mux._patience = 5
    write, read = lane.submit(command("A")), lane.submit(command("B", kind=Kind.READ))
    await asyncio.sleep(FRESH + 0.05)
    lane.pipe.answer(b"OK", b"value")
    with pytest.raises(OutcomeUnknownError):
        await write
    assert await read == b"value"


@pytest.mark.parametrize("code", ["READONLY", "LOADING", "MASTERDOWN"])
async def test_a_node_that_is_no_primary_is_left(lane, code):
    future = lane.submit(command("A"))
    lane.pipe.answer(hiredis.ReplyError(f"{code} no"))
    with pytest.raises(RefusedError):
        await future
    assert lane.lost == [f"the server answered {code}"]


async def test_suspended_means_not_written(lane):
    queued = lane.submit(command("A"))
    waiting = lane.submit(command("B"))
    lane.mux.suspend("a switch was announced")
    with pytest.raises(LinkDownError):
        await waiting
    with pytest.raises(LinkDownError):
        lane.submit(command("C"))
    lane.pipe.answer(b"a")
    assert await queued == b"a", "what was sent is still read"
    lane.mux.resume()
    lane.submit(command("D"))
    assert names(lane.pipe.writes) == [[b"A"], [b"D"]]


# --- the probe: docs/protocol.md, "Links", invariant I3 -------------------------------------


@pytest.fixture
async def silent(lane):
    lane.mux._trust._last_reply -= FRESH + 0.1
    return lane


def fenced(name="A"):
    return command(name, fence=Fence.PROBE)


async def test_i3_after_a_silence_role_is_asked_alone_before_a_fenced_write(silent):
    future = silent.submit(fenced())
    await turn()
    assert names(silent.pipe.writes) == [[b"ROLE"]], "nothing is pipelined behind the probe"
    silent.pipe.answer(MASTER)
    assert names(silent.pipe.writes) == [[b"ROLE"], [b"A"]]
    silent.pipe.answer(b"OK")
    assert await future == b"OK"


async def test_i3_a_reply_to_something_else_does_not_end_the_doubt(silent):
    """A resumed stale primary answers a check, and then a write that was not probed."""
    other = silent.submit(command("CHECK", kind=Kind.READ))
    silent.pipe.answer(b"ok")
    assert await other == b"ok"
    silent.submit(fenced())
    assert names(silent.pipe.writes) == [[b"CHECK"], [b"ROLE"]]


async def test_i3_what_was_queued_before_a_late_answer_is_probed_for(lane):
    """It was fenced when there was no doubt, and waited for room while there came to be one."""
    first, second = lane.submit(command("A")), lane.submit(command("B"))
    await turn()
    queued = [lane.submit(fenced("C")), lane.submit(command("D"))]
    assert names(lane.pipe.writes) == [[b"A"], [b"B"]]
    for batch in lane.mux._in_flight:
        batch.sent_at -= FRESH + 0.1
    lane.pipe.answer(b"late", b"late")
    later = lane.submit(fenced("E"))
    await turn()
    for each in (first, second):
        with pytest.raises(OutcomeUnknownError):
            await each
    assert names(lane.pipe.writes)[2:] == [[b"ROLE"], [b"D"]], "what needs no proof goes on"
    lane.pipe.answer(MASTER, b"d")
    assert names(lane.pipe.writes)[4:] == [[b"C", b"E"]], "in the order in which they came"
    lane.pipe.answer(b"c", b"e")
    assert await asyncio.gather(*queued, later) == [b"c", b"d", b"e"]


async def test_i3_a_reconnect_does_not_lift_a_suspension(lane):
    lane.mux.suspend("a switch was announced")
    lane.pipe.close("reset")
    lane.mux.attach(cast("Pipe", FakePipe()), ServerTime(0.0, 0))
    with pytest.raises(LinkDownError):
        lane.submit(command("A"))
    lane.mux.resume()
    lane.submit(command("A"))


async def test_lost_scripts_lead_to_a_new_connection(lane):
    future = lane.submit(item(b"a"))
    lane.pipe.answer(hiredis.ReplyError("NOSCRIPT No matching script"))
    with pytest.raises(RefusedError):
        await future
    assert lane.lost


async def test_no_probe_without_a_silence(lane):
    lane.submit(fenced())
    assert names(lane.pipe.writes) == [[b"A"]]


async def test_i3_a_bad_answer_to_the_probe_closes_the_link_and_nothing_runs(silent):
    future = silent.submit(fenced())
    silent.pipe.answer([b"slave", b"h", 1, b"connected", 0])
    with pytest.raises(LinkDownError):
        await future
    assert names(silent.pipe.writes) == [[b"ROLE"]]
    assert silent.lost


async def test_i3_a_slow_answer_to_the_probe_does_not_count(silent):
    future = silent.submit(fenced())
    time.sleep(PROBE_LIMIT + 0.02)  # noqa: ASYNC251 - the loop is busy, the answer lies waiting
    silent.pipe.answer(MASTER)
    with pytest.raises(LinkDownError):
        await future
    assert names(silent.pipe.writes) == [[b"ROLE"]]


async def test_i3_a_probe_without_the_sentinels_does_not_count(silent):
    silent.vouched_at = 0.0
    future = silent.submit(fenced())
    silent.pipe.answer(MASTER)
    with pytest.raises(LinkDownError, match="most Sentinels"):
        await asyncio.wait_for(future, 1)
    assert silent.pipe.closed


async def test_i3_a_proof_from_before_we_stood_still_ourselves_does_not_count(silent):
    silent.vouched_at = 0.0
    future = silent.submit(fenced())
    silent.pipe.answer(MASTER)
    silent.vouched_at = SYSTEM_CLOCK.monotonic()
    time.sleep(PROBE_LIMIT + 0.02)  # noqa: ASYNC251 - the process is stopped
    with pytest.raises(LinkDownError, match="the probe failed"):
        await asyncio.wait_for(future, 1)
    assert names(silent.pipe.writes) == [[b"ROLE"]]


async def test_i3_the_sentinels_may_answer_after_the_primary(silent):
    silent.vouched_at = 0.0
    future = silent.submit(fenced())
    silent.pipe.answer(MASTER)
    await turn()
    assert names(silent.pipe.writes)[-1] == [b"ROLE"], "nothing is written meanwhile"
    silent.vouched_at = SYSTEM_CLOCK.monotonic()
    answering = asyncio.get_running_loop().call_later(0.02, silent.pipe.answer, b"ok")
    assert await asyncio.wait_for(future, 1) == b"ok"
    answering.cancel()


async def test_i3_a_reconnect_does_not_lift_a_doubt(silent):
    """The server that was replaced while it stood still is at the same address, and says master."""
    silent.vouched_at = 0.0
    refused = silent.submit(fenced())
    silent.pipe.answer(MASTER)
    with pytest.raises(LinkDownError):
        await asyncio.wait_for(refused, 1)
    again = FakePipe()
    silent.mux.attach(cast("Pipe", again), ServerTime(0.0, 0))
    silent.submit(fenced())
    assert names(again.writes) == [[b"ROLE"]]
    silent.mux.close("another primary was named")
    silent.mux.trust()
    other = FakePipe()
    silent.mux.attach(cast("Pipe", other), ServerTime(0.0, 0))
    silent.submit(fenced())
    assert names(other.writes) == [[b"A"]]


def is_ping(commands):
    return [command[0] for command in commands] == [b"PING"]


@pytest.mark.parametrize("lost", [True, False], ids=["one reply lost", "one reply too many"])
async def test_replies_that_are_out_of_step_end_the_connection(lane, monkeypatch, lost):
    """Callers would get each other's answers for as long as they ask without a pause."""
    monkeypatch.setattr(pulse, "KEEP_ALIVE", 0.02)
    lane.submit(command("A"))
    await asyncio.sleep(0.03)  # time without a look is the subject
    lane.mux.keep_warm()
    assert is_ping(lane.pipe.writes[-1])
    number = lane.pipe.writes[-1][0][1]
    after = lane.submit(command("B"))
    await turn()
    lane.pipe.answer(*([number, b"b"] if lost else [b"a", b"once more"]))
    assert lane.lost == ["its replies are not those to what it was asked"]
    with pytest.raises(OutcomeUnknownError):
        await after


async def test_a_lane_in_step_is_looked_at_now_and_then_and_kept(lane, monkeypatch):
    monkeypatch.setattr(pulse, "KEEP_ALIVE", 0.02)
    for number in range(3):
        asked = lane.submit(command("A"))
        await asyncio.sleep(0.03)  # as above
        lane.mux.keep_warm()
        lane.mux.keep_warm()
        assert is_ping(lane.pipe.writes[-1])
        assert len(lane.pipe.handlers) == 2, "it is asked once"
        said = [lane.pipe.writes[-1][0][1], b"PONG", hiredis.ReplyError("NOPERM")][number]
        lane.pipe.answer(b"a", said)
        assert await asked == b"a"
        lane.mux.keep_warm()
        assert not lane.pipe.handlers
    assert not lane.lost


async def test_a_lane_that_is_kept_warm_falls_into_no_doubt(lane):
    lane.submit(fenced())
    lane.pipe.answer(b"ok")
    for _ in range(3):
        lane.mux.keep_warm()
        assert not is_ping(lane.pipe.writes[-1]), "it is not silent yet"
        await asyncio.sleep(WARM + 0.01)  # silence is the subject
        for _ in range(2):
            lane.mux.keep_warm()
        assert is_ping(lane.pipe.writes[-1])
        lane.pipe.answer(lane.pipe.writes[-1][0][1])
        lane.submit(fenced("B"))
        assert names(lane.pipe.writes)[-1] == [b"B"], "no probe"
        lane.pipe.answer(b"ok")


async def test_fenced_operations_share_one_probe(silent):
    futures = [silent.submit(fenced(f"C{n}")) for n in range(3)]
    silent.pipe.answer(MASTER)
    assert names(silent.pipe.writes) == [[b"ROLE"], [b"C0", b"C1", b"C2"]]
    silent.pipe.answer(0, 1, 2)
    assert await asyncio.gather(*futures) == [0, 1, 2]


async def test_a_probe_that_hangs_closes_the_link(silent):
    future = silent.submit(fenced(), within=5)
    with pytest.raises(LinkDownError):
        await asyncio.wait_for(future, 1)
    assert silent.lost == ["the probe failed: the probe was not answered"]


async def test_i4_a_fenced_operation_keeps_its_deadline_while_the_probe_hangs(silent):
    with pytest.raises(DeadlineError) as missed:
        await asyncio.wait_for(silent.submit(fenced(), within=0.02), 0.08)
    assert missed.value.ran is Ran.NO


@pytest.mark.parametrize("argument", ["\ud800", [1]])
async def test_an_argument_that_cannot_be_sent_harms_its_own_call_only(lane, argument):
    lone = lane.submit(command("A"))
    good = lane.submit(item(b"good"))
    bad = lane.submit(replace(item(b"bad"), args=(argument,)))
    alone = lane.submit(command(argument))
    after = lane.submit(command("B"))
    await turn()
    lane.pipe.answer(b"a", [1], b"b")
    assert [await each for each in (lone, good, after)] == [b"a", 1, b"b"]
    for refused in (bad, alone):
        with pytest.raises(InvalidInputError):
            await refused


async def test_what_is_in_flight_is_told_when_a_reply_cannot_be_handled(lane):
    """Its own handler was called already, and failed."""
    sent = lane.submit(command("A"))
    lane.pipe.handlers.popleft()
    lane.pipe.close("a reply could not be handled")
    with pytest.raises(OutcomeUnknownError):
        await sent


@pytest.mark.parametrize("text", ["LATE \u00b2", "LATE " + "9" * 400, "LATE", "LATE x"])
def test_a_late_refusal_that_tells_no_time(text):
    assert late_by(text) is None
