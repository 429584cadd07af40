from __future__ import annotations

from pathlib import Path

import pytest

from aragora_redis.errors import SettingsError
from aragora_redis.policies import load_policies, parse_policies
from aragora_redis.policies.document import MAX_BYTES

LIMIT_KEYS = "rate, burst, on_outage, co_locate"


def refusal(text: str | bytes) -> str:
    with pytest.raises(SettingsError) as caught:
        parse_policies(text, source="my.toml")
    return str(caught.value)


def test_packaged_default() -> None:
    policy = load_policies(None).limits["api"]
    assert (policy.count, policy.period_us, policy.burst) == (1, 10_000, 200)
    assert policy.on_outage is None


def test_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "policies.toml"
    path.write_text(
        """\
[limits.api]
rate = "100/second"
burst = 200
on_outage = "fail-open"

[limits."login.by-ip"]
rate = "3 per 2 seconds"
co_locate = "api"
""",
        "utf-8-sig",
    )
    policies = load_policies(path)
    assert set(policies.limits) == {"api", "login.by-ip"}
    assert policies.limits["api"].on_outage == "fail-open"
    assert policies.limits["login.by-ip"].burst == 3
    assert policies.limits["login.by-ip"].co_locate == "api"
    assert policies.limits["login.by-ip"].name == "login.by-ip"


def test_burst_defaults_to_the_count_as_written() -> None:
    policy = parse_policies('[limits.a]\nrate = "100/second"\n', source="x").limits["a"]
    assert (policy.count, policy.burst) == (1, 100)


def test_hash_ignores_order_and_spelling_only() -> None:
    a, b = '[limits.a]\nrate = "1/s"\n', '[limits.b]\nrate = "2/s"\n'
    one = parse_policies(a + b, source="x").hash
    assert one == parse_policies("# same\n" + b + a.replace("1/s", "1 per second"), source="y").hash
    assert one != parse_policies(a, source="x").hash
    assert one != parse_policies(a.replace("1/s", "2/s") + b.replace("2/s", "1/s"), source="x").hash


@pytest.mark.parametrize("text", ["", "# nothing\n", "[limits]\n"])
def test_no_limits_are_fine(text: str) -> None:
    assert not parse_policies(text, source="x").limits


@pytest.mark.parametrize(
    ("text", "line", "what", "allowed"),
    [
        ('[limits.a]\nrate = "1/s"\n\n[circuit.x]\n', 4, "'circuit'", "[circuits.NAME]"),
        ('top = 1\n[limits.a]\nrate = "1/s"\n', 1, "'top'", "[limits.NAME]"),
        ('[limits.a]\nrate = "1/s"\nco_locate = "a"\n', 3, "no other limit", "none is defined"),
        ('[limits.a]\nrate = "1/s"\nco_locate = 1\n[limits.b]\n', 3, "no other", "limits: b"),
        (
            'limits.a = {rate = "1/s", co_locate = "b"}\nlimits.b = {co_locate = "a"}\n',
            1,
            "itself co-located",
            "name that one",
        ),
        (
            '[limits.a]\nrate = "1/s"\nbrust = 2\n',
            3,
            "'brust'",
            f"did you mean 'burst'? keys of [limits.NAME] are {LIMIT_KEYS}",
        ),
        ('[limits.a]\nrate = "1/s"\n[limits.a.b]\n', 3, "'b'", LIMIT_KEYS),
        (
            '\n\nlimits.a.rate = "1/s"\nlimits.a.x = 1\n',
            4,
            "'x'",
            LIMIT_KEYS,
        ),
        ('limits.a = { rate = "1/s", x = 1 }\n', 1, "'x'", LIMIT_KEYS),
        (
            '[limits."a"]\nrate = "1/s"\n["limits".a."x"]',
            3,
            "'x'",
            LIMIT_KEYS,
        ),
        (
            '# x = 1\n[limits.a]\n# x = 1\nrate = "1/s"\nx = 1',
            5,
            "'x'",
            LIMIT_KEYS,
        ),
        ('[limits.b]\nrate = """\nx = 1\n"""\n', 2, "not a rate", "100/second"),
        ("[limits.b]\nx = [\n  1,\n\n  2,\n]\n", 2, "'x'", LIMIT_KEYS),
        ('[limits.b]\r\nrate = "1/s"\r\nx = 1\r\n', 3, "'x'", LIMIT_KEYS),
        ("limits = 3\n", 1, "not a section", "[limits.NAME]"),
        ("[[limits]]\n", 1, "not a section", "[limits.NAME]"),
        ('[limits]\n\napi = "1/s"\n', 3, "not a section", "[limits.api]"),
        ("# c\n[limits.a]\nburst = 2\n", 2, "no rate", "3 per 2 seconds"),
        ("[limits.a]\nrate = 3\n", 2, "rate is not a text", "3 per 2 seconds"),
        ('[limits.a]\nrate = "3"\n', 2, "not a rate", "3 per 2 seconds"),
        ('[limits.a]\nburst = 0\nrate = "3/s"\n', 2, "burst", "20"),
        ('[limits.a]\nburst = true\nrate = "3/s"\n', 2, "burst", "20"),
        ('[limits.a]\nburst = 1.5\nrate = "3/s"\n', 2, "burst", "20"),
        ('[limits.a]\nrate = "3/s"\non_outage = "open"\n', 3, "on_outage", '"fail-closed"'),
        ('[limits.a]\nrate = "3/s"\non_outage = []\n', 3, "on_outage", '"fail-open"'),
        ('[limits."a b"]\nrate = "3/s"\n', 1, "'a b'", "A-Z a-z 0-9 _ . -"),
        ('\n[limits.a]\nrate = "1 per day"\nburst = 99999\n', 3, "99999", "52124 fits"),
        ('[circuits.a]\nopen_for = "1 s"\nwindows = 3\n', 3, "'windows'", "window, minimum_calls"),
        ("[circuits.a]\nwindow = 10\n", 2, "window is not a text", "10 seconds"),
        ('[circuits.a]\nwindow = "soon"\n', 2, "no duration", "10 seconds"),
        ('[circuits.a]\nwindow = "2 days"\n', 2, "86400", "correct"),
        ("[circuits.a]\nfailure_rate = 50\n", 2, "at most 1", "half of the calls"),
        (f"[circuits.a]\nfailure_rate = {10**400}\n", 2, "at most 1", "half of the calls"),
        (f"[circuits.a]\nslow_rate = {-(10**400)}\n", 2, "at most 1", "half of the calls"),
        ('[circuits.a]\nslow_rate = "half"\n', 2, "not a number", "half of the calls"),
        ("[circuits.a]\n\nreporters = 0\n", 3, "reporters", "correct"),
        ("[circuits.a]\nminimum_calls = 2.5\n", 2, "not a whole number", "5"),
        ('[circuits."a/b"]\n', 1, "'a/b'", "A-Z a-z 0-9 _ . -"),
        ("[circuits.default]\nreporters = 0\n[circuits.a]\n", 2, "reporters", "correct"),
        ("circuits = 1\n", 1, "not a section", "[circuits.NAME]"),
        ('[sessions]\nidle = "30 minutes"\nttl = 1\n', 3, "'ttl'", "idle, absolute"),
        ('[sessions]\non_full = "drop"\n', 2, "on_full", '"refuse"'),
        ('[sessions]\nabsolute = "0 s"\n', 2, "absolute", "correct"),
        ('[sessions]\nlongest = "367 days"\n', 2, "366 days", "correct"),
        ("[sessions]\nmax_per_user = -1\n", 2, "max_per_user", "correct"),
        ("[sessions]\nmax_bytes = true\n", 2, "not a whole number", "65536"),
        ("sessions = []\n", 1, "not a section", "[sessions]"),
        ("[limits.a\n", 1, "not TOML", "syntax"),
        ('[limits.a]\nrate = "1/s\n', 2, "not TOML", "syntax"),
        ('[limits.a]\nrate = "1/s"\nrate = "1/s"\n', 3, "not TOML", "syntax"),
        ("[limits.a]\nx = " + "9" * 5000 + "\n", 2, "not TOML", "syntax"),
        (b"[limits.a]\n\nrate = '\xff'\n", 3, "not UTF-8", "UTF-8"),
        ("[limits.a]\nrate = '\ud800'\n", 2, "not UTF-8", "UTF-8"),
    ],
)
def test_mistake_is_told_with_its_line(
    text: str | bytes, line: int, what: str, allowed: str
) -> None:
    message = refusal(text)
    assert message.startswith(f"my.toml, line {line}: ")
    assert what in message
    assert allowed in message


def test_a_circuit_takes_what_it_does_not_say_from_the_default() -> None:
    policies = parse_policies(
        '[circuits.llm]\nopen_for = "5 s"\n[circuits.default]\nwindow = "1 minute"\n', source="x"
    )
    assert (policies.circuit("llm").open_for, policies.circuit("llm").window) == (5, 60)
    assert (policies.circuit("other").open_for, policies.circuit("other").window) == (1, 60)


def test_sessions_are_read() -> None:
    text = '[sessions]\nidle = "5 minutes"\nmax_per_user = 3\non_full = "refuse"\n'
    found = parse_policies(text, source="x").sessions
    assert (found.idle, found.absolute, found.max_per_user) == (300, 43_200, 3)
    assert found.on_full == "refuse"


def test_line_is_found_in_a_long_file() -> None:
    sections = [f'[limits.l{n}]\nrate = "1/s"\n' for n in range(1000)]
    sections[700] += "x = 1\n"
    assert refusal("".join(sections)).startswith("my.toml, line 1403: ")


def test_size_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "policies.toml"
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(SettingsError, match=f"larger than {MAX_BYTES} bytes"):
        load_policies(path)


def test_nesting_is_bounded() -> None:
    assert "nested too deeply" in refusal("x = " + "[" * 20_000 + "]" * 20_000)


@pytest.mark.parametrize("name", ["absent.toml", "", "\0"])
def test_unreadable_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match=r"(cannot be read|no regular file).*ARAGORA_POLICIES"):
        load_policies(f"{tmp_path}/{name}")
