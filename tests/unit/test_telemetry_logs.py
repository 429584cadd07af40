"""One line for what an operator acts on, none for a request."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import logging

import pytest

from aragora_redis.address import Address
from aragora_redis.events import (
    Acted,
    ActLost,
    AuditTrouble,
    ClientsTurnedAway,
    ClockSkew,
    Decided,
    Degraded,
    EpochReset,
    EraChanged,
    Event,
    Events,
    FullSync,
    LinkLost,
    LinkUp,
    OutboxKept,
    Recovered,
    RenewalFailed,
    Revoked,
    SentinelsSplit,
    SwitchAnnounced,
    Unreachable,
    ViewChanged,
)
from aragora_redis.settings import Feature
from aragora_redis.telemetry import logs
from aragora_redis.telemetry.logs import EventLog, JsonFormatter, configure_logging

OLD, NEW = Address("127.0.0.1", 6379), Address("127.0.0.1", 6380)


@pytest.fixture
def events(caplog):
    caplog.set_level(logging.DEBUG, logger="aragora_redis")
    events = Events()
    EventLog().listen(events)
    return events


@pytest.mark.parametrize(
    ("event", "level", "words"),
    [
        (Degraded("no link"), logging.WARNING, "no link"),
        (OutboxKept(), logging.WARNING, "again"),
        (OutboxKept(missing=3), logging.ERROR, "but 3 of meanwhile"),
        (Recovered(2.5), logging.WARNING, "2.5 s"),
        (ViewChanged(OLD, NEW, 2), logging.WARNING, "127.0.0.1:6380"),
        (ViewChanged(None, NEW, 1), logging.INFO, "127.0.0.1:6380"),
        (EpochReset(NEW, 9, 1), logging.WARNING, "rebuilt"),
        (SentinelsSplit("a and b"), logging.CRITICAL, "a and b"),
        (ClockSkew(-400.0), logging.CRITICAL, "-400 s"),
        (SwitchAnnounced(OLD), logging.INFO, "127.0.0.1:6379"),
        (LinkUp(str(NEW), "fast", 0.0), logging.INFO, "fast"),
        (LinkLost(str(NEW), "fast", "reset by peer"), logging.INFO, "reset by peer"),
        (Acted("ann", "limits reset", "api 0011", "filled", "http"), logging.INFO, "by ann"),
        (ClientsTurnedAway("room", 7), logging.WARNING, "7 connections"),
        (ActLost("ann", "limits reset", "api 0011", "filled", "full"), logging.ERROR, "by ann"),
        (AuditTrouble(3, "WRONGTYPE"), logging.WARNING, "3 acts"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_event_is_one_line(events, caplog, event: Event, level, words):
    events.emit(event)
    (line,) = caplog.records
    assert line.levelno == level
    assert words in line.getMessage()


def test_what_was_never_linked_is_a_warning_with_its_reason(events, caplog):
    events.emit(Unreachable("primary h:1", "the password is wrong"))
    events.emit(LinkUp("h:1", "fast", 0.0))
    events.emit(Unreachable("primary h:1", "Connection refused"))
    said = [record for record in caplog.records if "cannot be used" in record.message]
    assert [record.levelno for record in said] == [logging.WARNING, logging.INFO]
    assert "the password is wrong" in said[0].message


def test_a_line_says_whose_redis_it_is_about_where_there_are_several(events, caplog):
    of_tokens = events.of(("tokens", "sessions"))
    of_tokens.emit(RenewalFailed("HTTP 500"))
    of_tokens.emit(Degraded("no link"))
    assert [record.getMessage() for record in caplog.records] == [
        "the Redis of tokens, sessions: the credentials are not renewed yet: HTTP 500",
        "degraded: the Redis of tokens, sessions cannot be used: no link",
    ]


def test_what_was_never_linked_is_a_warning_although_another_redis_is(events, caplog):
    events.of(("limits",)).emit(LinkUp("h:2", "fast", 0.0))
    events.of(("tokens",)).emit(Unreachable("primary h:1", "the password is wrong"))
    assert caplog.records[-1].levelno == logging.WARNING


@pytest.mark.parametrize(
    ("features", "told"),
    [((), {}), ((Feature.TOKENS, Feature.SESSIONS), {"features": ["tokens", "sessions"]})],
)
def test_json_lines_say_whose_redis_it_is_where_there_are_several(features, told):
    record = logging.makeLogRecord({"msg": "m", "event": Degraded("no link", features=features)})
    line = json.loads(JsonFormatter().format(record))
    assert {name: line[name] for name in line if name not in {"at", "level", "logger"}} == {
        "message": "m",
        "event": "Degraded",
        "reason": "no link",
    } | told


def test_requests_are_not_logged(events, caplog):
    events.emit(Decided("api", allowed=False, source="redis"))
    events.emit(Revoked("jti", "replicated", 0.01))
    assert not caplog.records


async def test_what_happens_to_all_shards_at_once_is_one_line(events, caplog, monkeypatch):
    monkeypatch.setattr(logs, "GATHER", 0.01)
    for shard in range(16):
        events.emit(EraChanged(shard, 2, 1, 2))
        events.emit(FullSync(shard, 3, 4, 0.1))
    async with asyncio.timeout(5):
        while len(caplog.records) < 2:  # noqa: ASYNC110 - a log has no event to wait for
            await asyncio.sleep(0.005)
    eras, syncs = [record.getMessage() for record in caplog.records]
    assert "16 token shards" in eras
    assert "16 own and 32 learned" in eras
    assert "48 revocations learned, 64 published" in syncs


async def test_what_was_gathered_is_written_at_the_end(caplog):
    caplog.set_level(logging.INFO, logger="aragora_redis")
    events = Events()
    end = EventLog().listen(events)
    events.emit(EraChanged(0, 2, 1, 2))
    assert not caplog.records
    end()
    assert len(caplog.records) == 1
    events.emit(Degraded("no link"))
    assert len(caplog.records) == 1


def test_the_http_server_is_quiet(monkeypatch, capsys):
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    level, chatty = root.level, logging.getLogger("uvicorn").level
    try:
        configure_logging("INFO")
        logging.getLogger("aragora_redis.some").info("heard")
        logging.getLogger("uvicorn.error").info("hidden")
        logging.getLogger("uvicorn.error").warning("seen")
    finally:
        root.setLevel(level)
        logging.getLogger("uvicorn").setLevel(chatty)
        logging.getLogger("asyncio").setLevel(logging.NOTSET)
    written = capsys.readouterr().err
    assert "heard" in written
    assert "seen" in written
    assert "hidden" not in written


def parsed(record):
    return json.loads(JsonFormatter().format(record))


def test_json_lines_carry_the_fields_of_an_event(events, caplog):
    events.emit(ViewChanged(OLD, NEW, 2))
    line = parsed(caplog.records[0])
    assert line["event"] == "ViewChanged"
    assert (line["old"], line["new"], line["epoch"]) == (str(OLD), str(NEW), 2)
    assert (line["level"], line["logger"]) == ("WARNING", "aragora_redis.telemetry.logs")
    assert "failover" in line["message"]
    assert dt.datetime.fromisoformat(line["at"]).tzinfo is not None


def test_json_lines_hold_a_traceback_in_one_line(caplog):
    try:
        int("first\nsecond")
    except ValueError:
        logging.getLogger("aragora_redis.some").exception("went %s", "wrong")
    text = JsonFormatter().format(caplog.records[0])
    assert "\n" not in text
    line = json.loads(text)
    assert line["message"] == "went wrong"
    assert "ValueError: invalid literal" in line["traceback"]
    assert "event" not in line


def test_json_lines_survive_whatever_is_logged():
    # Not through caplog: what it keeps cannot be sent between the processes that run tests.
    half = Degraded("half a character: \udc80")
    line = parsed(logging.makeLogRecord({"msg": half.reason, "event": half}))
    assert line["reason"] == line["message"] == "half a character: \\udc80"
    nothing = logging.makeLogRecord({"msg": "m", "event": Recovered(float("nan"))})
    assert parsed(nothing)["after"] is None
    level = logging.makeLogRecord(
        {"msg": "m", "levelname": "INFO", "event": Revoked("jti", "x", 1)}
    )
    assert (parsed(level)["level"], parsed(level)["event_level"]) == ("INFO", "x")
