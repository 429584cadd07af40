"""Policies files of anything: policies, or an error with a line; and a bad one changes nothing."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.effort import effort
from tests.fuzz.strategies import damaged, documents, floats, integers, texts

from aragora_redis.circuit.policy import CircuitPolicy
from aragora_redis.errors import SettingsError
from aragora_redis.events import Event, Events, PoliciesRefused
from aragora_redis.policies import load_policies, parse_policies
from aragora_redis.sessions.policy import SessionPolicy
from aragora_redis.state.policies_watch import PoliciesWatch

GOOD = b"""\
[limits.api]
rate = "100/second"
burst = 200
on_outage = "fail-open"
[limits.beside]
rate = "3 per 2 seconds"
co_locate = "api"
[circuits.default]
failure_rate = 0.25
window = "10 seconds"
[circuits.db]
minimum_calls = 9
[sessions]
idle = "30 minutes"
max_per_user = 4
"""
_KEYS = ("rate", "burst", "on_outage", "co_locate", "shadow", "lease")
keys = st.sampled_from(_KEYS + CircuitPolicy.__struct_fields__ + SessionPolicy.__struct_fields__)
_words = st.sampled_from(
    ["100/second", "1 per 9999999999999999 days", "0/s", "10 days", ".5 hours", "1e9", "fail-open",
     "fail-closed", "api", "default", "refuse", "full", "nothing"]
)  # fmt: skip
likely = _words | st.booleans() | integers | floats | documents


def toml(value: Any) -> str:  # noqa: PLR0911 - one for each type
    match value:
        case bool():
            return str(value).lower()
        case float():
            return repr(value)
        case int():
            return hex(value) if value > 10**300 else str(value)
        case str():
            return (
                '"'
                + "".join(f"\\U{ord(c):08X}" for c in value if not "\ud800" <= c < "\ue000")
                + '"'
            )
        case list():
            return f"[{', '.join(map(toml, value))}]"
        case dict():
            return "{" + ", ".join(f"{toml(k)} = {toml(v)}" for k, v in value.items()) + "}"
        case _:
            return "1979-05-27"


@st.composite
def nearly_policies(draw: st.DrawFn) -> str:
    """Sections and keys that there are, mostly, of values that may not be theirs."""
    lines = []
    for _ in range(draw(st.integers(1, 4))):
        section = draw(st.sampled_from(["limits", "circuits", "sessions", "limit"]))
        name = draw(st.sampled_from(["api", "default", "db"]) | texts)
        lines.append(f"[{section}]" if section == "sessions" else f"[{section}.{toml(name)}]")
        if section == "limits" and draw(st.booleans()):
            lines.append('rate = "5/second"')
        given = draw(st.lists(keys, max_size=4, unique=True))
        lines += [f"{key} = {toml(draw(likely))}" for key in given]
    return "\n".join(lines)


def parsed(content):
    try:
        found = parse_policies(content, source="policies.toml")
    except SettingsError as error:
        assert re.match(r"policies\.toml(, line \d+:| is )", str(error)), error
        assert error.remedy
        return None
    repr(found), found.hash, found.circuit("x")
    return found


@effort(50)
@given(nearly_policies())
def test_sections_of_any_values(text):
    parsed(text)


@effort(80)
@given(damaged(GOOD) | st.binary(max_size=200) | texts)
def test_any_content(content):
    parsed(content)


@effort(25)
@given(damaged(GOOD) | nearly_policies().map(str.encode) | st.none())
async def test_a_file_that_changes_into_anything(tmp_path, content):
    path = tmp_path / "policies.toml"
    path.write_bytes(GOOD)
    good = load_policies(path)
    used, events = [good], Events()
    said: list[Event] = []
    events.subscribe(said.append)
    watch = PoliciesWatch(path, current=lambda: used[-1], use=used.append, events=events)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    await watch._look(forced=True)
    refused = [each for each in said if isinstance(each, PoliciesRefused)]
    assert (used[-1].hash == good.hash) or not refused
    assert len(refused) <= 1
    if refused:
        assert str(path) in refused[0].reason
