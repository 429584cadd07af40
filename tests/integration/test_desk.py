"""What operators do by hand reaches every instance, is recorded, and leaves no other trace."""

from __future__ import annotations

import io
import json
import time

import pytest
from tests.integration.past import give_past

from aragora_redis import Level, Rate
from aragora_redis.errors import CircuitOpenError
from aragora_redis.state.presence import presence_keys
from aragora_redis.sync import SharedState

POLICIES = '[limits.api]\nrate = "3 per hour"\n'


@pytest.fixture
def env(sentinel_lab, policies):
    patient = {
        "ARAGORA_REDIS_DEADLINE": "1"
    }  # an answer that a busy machine holds up is none missed
    return sentinel_lab.env() | policies(POLICIES) | patient


@pytest.fixture
def state(env, sentinel_lab):
    give_past(sentinel_lab)
    with SharedState.from_env(env) as state:
        assert state.wait_ready(20)
        yield state


@pytest.fixture
def desk(cli, env):
    """Runs a command that must succeed; what it printed as JSON."""

    def call(*arguments):
        code, out, err = cli(*arguments, "--json", **env)
        assert code == 0, err
        return json.loads(out)

    return call


def until(condition, within=10.0):
    end = time.monotonic() + within
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {within} s"
        time.sleep(0.01)
    return value


def in_an_hour():
    return str(time.time() + 3600)


def test_i1_a_revocation_by_hand_reaches_every_instance(state, desk):
    receipt = desk(
        "tokens", "revoke", "--jti", "stolen", "--expires-at", in_an_hour(), "--reason", "found"
    )
    assert (receipt["level"], receipt["acknowledged"]) == ("replicated", 2)
    until(lambda: state.tokens.is_revoked({"jti": "stolen"}))
    found = desk("tokens", "look", "--jti", "stolen")["found"]
    assert found["reason"] == "found"
    assert found["what"] == "token"
    assert desk("tokens", "look", "--jti", "another") == {"revoked": False, "found": None}


def test_i1_a_user_is_cut_off_by_hand(state, desk):
    before = time.time()
    receipt = desk("tokens", "revoke", "--user", "mallory", "--reason", "left")
    assert receipt["not_before"] >= before
    until(lambda: state.tokens.is_revoked({"sub": "mallory", "iat": before}))
    assert not state.tokens.is_revoked({"sub": "mallory", "iat": receipt["not_before"]})
    assert desk("tokens", "look", "--user", "mallory")["found"]["what"] == "user"


def test_i1_a_whole_token_is_judged_by_its_users_cut_off_too(state, cli, env, tmp_path):
    jwt = pytest.importorskip("jwt")
    secret = "a-secret-of-enough-length-for-hs256"
    env = env | {"ARAGORA_JWT_SECRET": secret}

    def look(**claims):
        file = tmp_path / "token"
        file.write_text(jwt.encode({"exp": time.time() + 3600} | claims, secret))
        code, out, _ = cli("tokens", "look", "--token-file", str(file), "--json", **env)
        assert code == 0
        return json.loads(out)["found"]

    receipt = state.tokens.revoke_user("mallory", reason="left")
    assert look(jti="t", sub="mallory", iat=int(time.time()))["what"] == "user"
    assert look(jti="t", sub="mallory", iat=receipt.not_before + 1) is None
    assert look(jti="t", sub="alice", iat=int(time.time())) is None


def test_a_level_that_ends_with_the_command_is_not_used(state, cli, env):
    del state
    env = env | {"ARAGORA_TOKENS_LEVEL": "local"}
    code, out, _ = cli("tokens", "revoke", "--user", "u", "--reason", "r", "--json", **env)
    assert (code, json.loads(out)["level"]) == (0, "replicated")


def test_short_cut_offs_are_of_users_nevertheless(state, cli, env):
    del state
    env = env | {"ARAGORA_TOKENS_MAX_LIFETIME": "3600"}
    cli("tokens", "revoke", "--user", "bob", "--reason", "r", **env)
    code, out, _ = cli("tokens", "look", "--user", "bob", **env)
    assert (code, out.startswith("revoked, issued until ")) == (0, True)


def test_many_days_and_many_sessions_are_more_than_one_page(state, desk):
    now = time.time()
    for day in range(40):
        for number in range(16):
            expires = now + day * 86_400 + 600
            state.tokens.revoke(f"{day}/{number}", expires_at=expires, level=Level.LOCAL)
    for _ in range(40):
        state.sessions.create(user="many")
    until(lambda: desk("tokens", "list", "--limit", "1")["total"] == 640)
    shown = desk("tokens", "list", "--limit", "10000")["shown"]
    assert len(shown) == 640
    assert [each["moment"] for each in shown] == sorted(each["moment"] for each in shown)
    page = desk("tokens", "list", "--limit", "250")
    rows = page["shown"]
    while page["after"] is not None:
        page = desk("tokens", "list", "--limit", "195", "--after", page["after"])
        rows += page["shown"]
    assert rows == shown, "of sixteen that end at the same moment none is missed, or comes twice"
    assert len(desk("sessions", "list", "--user", "many")) == 40


def test_what_is_over_is_not_shown(state, desk):
    state.tokens.revoke("over", expires_at=time.time() - 60, reason="late")
    state.tokens.revoke("lives", expires_at=time.time() + 600, reason="now")
    until(lambda: desk("tokens", "look", "--jti", "lives")["revoked"])
    assert [each["reason"] for each in desk("tokens", "list")["shown"]] == ["now"]


def test_a_list_counts_all_and_shows_the_first_to_end(state, desk):
    for hours in (3, 1, 2):
        state.tokens.revoke(f"j{hours}", expires_at=time.time() + hours * 3600, reason=f"r{hours}")
    state.refresh_tokens.rotate(state.refresh_tokens.begin("42", lifetime=60))
    until(lambda: not state.status().outbox)
    listed = desk("tokens", "list", "--limit", "2")
    assert listed["total"] == 3, "a login that was refreshed is not revoked"
    assert len(listed["shown"]) == 2
    moments = [each["moment"] for each in listed["shown"]]
    assert moments == sorted(moments)


def test_a_look_needs_nobody_who_has_loaded_the_scripts(cli, connect, standalone_lab, policies):
    server = connect(standalone_lab)
    server.script_flush()
    before = server.dbsize()
    env = standalone_lab.env() | policies(POLICIES)
    for look in (("look", "api", "anybody"), ("own", "api")):
        code, _, err = cli("limits", *look, **env)
        assert code == 0, err
    assert server.dbsize() == before, "it writes nothing"


def test_a_limit_is_looked_at_and_reset_by_hand(state, desk):
    for _ in range(4):
        refused = state.rate_limits.check("api", "ip:203.0.113.9")
    assert not refused.allowed
    looked = desk("limits", "look", "api", "ip:203.0.113.9")
    assert (looked["allowed"], looked["remaining"]) == (False, 0)
    assert desk("limits", "reset", "api", "ip:203.0.113.9", "--reason", "asked for") == {
        "reset": True
    }
    until(lambda: state.rate_limits.check("api", "ip:203.0.113.9").allowed)
    own = "limits", "set", "api", "ip:203.0.113.9", "36 per hour", "--reason", "bought more"
    assert desk(*own, "--burst", "30", "--for", "1 hour") == {"had": False}
    assert state.rate_limits.check("api", "ip:203.0.113.9", cost=20).limit == 30
    looked = desk("limits", "look", "api", "ip:203.0.113.9")
    assert (looked["limit"], looked["rate"], looked["own"]) == (30, "36 per hour", True)
    unset = desk("limits", "unset", "api", "ip:203.0.113.9", "--reason", "bought no more")
    assert unset == {"had": True}
    assert state.rate_limits.peek("api", "ip:203.0.113.9").policy.burst == 3
    assert desk("limits", "list")[0] == {
        "name": "api",
        "rate": "3 per hour",
        "burst": 3,
        "on_outage": "fail-closed",
        "shadow": False,
        "lease": 0,
    }


def test_tokens_are_reserved_and_settled_by_hand(state, desk, cli, env):
    why = "--reason", "a look at its bill"
    made = desk("limits", "reserve", "api", "org:7", "3", "--for", "5 minutes", *why)
    assert (made["allowed"], made["remaining"]) == (True, 0)
    refused = cli("limits", "reserve", "api", "org:7", "1", *why, **env)
    assert (refused[0], "refused" in refused[1]) == (1, True)
    settled = desk("limits", "settle", made["reservation"], "1", *why)
    assert (settled["found"], settled["returned"]) == ("held", 2)
    assert state.rate_limits.settle(made["reservation"], 3).returned == 2, "the first one counts"
    assert desk("limits", "look", "api", "org:7")["remaining"] == 2
    theirs = state.rate_limits.reserve("api", "org:7", 2)
    assert desk("limits", "refund", theirs.id, *why)["returned"] == 2
    acts = desk("audit", "--limit", "10")
    targets = {each["target"] for each in acts if each["action"].startswith("limits ")}
    assert targets == {f"api {desk('limits', 'look', 'api', 'org:7')['digest']}"}
    assert "3 reserved" in {each["outcome"] for each in acts}
    for arguments in (("settle", "made-up", "1"), ("reserve", "api", "org:7", "4")):
        code, out, err = cli("limits", *arguments, *why, **env)
        assert (code, out, "Traceback" in err) == (1, "", False), err


def test_who_has_a_limit_of_its_own_is_listed_by_hand(state, desk, connect, sentinel_lab, cli, env):
    why = "--reason", "bought more"
    for number in range(260):  # more than a page
        state.rate_limits.set_limit("api", f"org:{number}", Rate("9/second"), actor="billing")
    desk("limits", "set", "api", "org:7", "8/second", "--for", "1 hour", "--actor", "ann", *why)
    desk("limits", "unset", "api", "org:8", *why)
    listed = connect(sentinel_lab).zcard("aragora:l:{own:api}:listed")
    found = desk("limits", "own", "api", "--limit", "1000")
    assert (listed, len(found)) == (260, 259)
    assert connect(sentinel_lab).zcard("aragora:l:{own:api}:listed") == 260, "no look changes it"
    [ann] = [each for each in found if each["actor"] != "billing"]
    assert (ann["actor"], ann["rate"], ann["until"] is not None) == ("ann", "8 per second", True)
    assert ann["digest"] == desk("limits", "look", "api", "org:7")["digest"]
    assert len(desk("limits", "own", "api", "--limit", "251")) == 251
    assert "billing" in str(state.rate_limits.own_limits("api", limit=3))
    last = "limits", "unset", "api", "--digest", found[-1]["digest"], *why
    assert [desk(*last)["had"], desk(*last)["had"]] == [True, False]
    assert len(desk("limits", "own", "api", "--limit", "1000")) == 258
    assert "limits unset" in str(desk("audit", "--target", found[-1]["digest"]))
    assert "digest" in cli("limits", "unset", "api", *why, **env)[2]


def test_i6_sessions_are_looked_at_and_ended_by_hand(state, desk, monkeypatch):
    first, second, third = (
        state.sessions.create(user="42", data={"theme": "dark"}) for _ in range(3)
    )
    listed = desk("sessions", "list", "--user", "42")
    assert len(listed) == 3
    assert listed[0]["fields"] == ["theme"]
    assert "dark" not in json.dumps(listed)

    stdin = io.TextIOWrapper(io.BytesIO(first.id.encode() + b"\n"))
    monkeypatch.setattr("sys.stdin", stdin)
    assert desk("sessions", "end", "--id-file", "-", "--reason", "lost")["level"] == "replicated"
    until(lambda: state.sessions.get(first.id) is None)

    assert first.id not in str(desk("audit"))
    handle = listed[1]["handle"]
    desk("sessions", "end", "--user", "42", "--handle", handle, "--reason", "an old device")
    left = desk("sessions", "list", "--user", "42")
    assert [each["handle"] for each in left] == [listed[2]["handle"]]

    ended = desk("sessions", "end", "--user", "42", "--reason", "all of them")
    assert ended["ended"] == 1
    until(lambda: all(state.sessions.get(each.id) is None for each in (second, third)))
    assert desk("sessions", "list", "--user", "42") == []


def test_looking_at_a_session_follows_its_rotation_and_is_no_use(
    state, desk, tmp_path, connect, sentinel_lab
):
    made = state.sessions.create(user="42")
    state.sessions.rotate(made)
    file = tmp_path / "id"
    file.write_text(made.id)
    client = connect(sentinel_lab)
    key = next(
        key for key in client.scan_iter("aragora:s:*", _type="hash") if client.hexists(key, "u")
    )
    client.pexpire(key, 60_000)
    assert desk("sessions", "look", "--id-file", str(file))["fields"] == []
    assert client.pttl(key) <= 60_000


def test_a_circuit_is_forced_by_hand(state, desk):
    with state.circuits["upstream"]:
        pass
    forced = desk("circuits", "force", "upstream", "open", "--reason", "maintenance")
    assert (forced["state"], forced["reason"]) == ("forced-open", "maintenance")

    def refused():
        try:
            with state.circuits["upstream"]:
                return False
        except CircuitOpenError:
            return True

    until(refused)
    desk("circuits", "force", "a-slip-of-the-pen", "open", "--reason", "maintenance")
    assert [each["name"] for each in desk("circuits", "list")] == [
        "a-slip-of-the-pen",
        "upstream",
    ]
    assert desk("circuits", "force", "upstream", "auto", "--reason", "done")["state"] == "closed"
    until(lambda: not refused())
    assert desk("circuits", "look", "upstream")["state"] == "closed"
    why = ("--reason", "for a while", "--actor", "ann", "--for", "500 ms")
    forced = desk("circuits", "force", "upstream", "open", *why)
    assert (forced["forced_by"], forced["reason"]) == ("ann", "for a while")
    assert forced["until"] == pytest.approx(forced["forced_at"] + 0.5, abs=0.3)
    until(lambda: desk("circuits", "look", "upstream")["state"] == "closed")
    assert state.circuits["upstream"].state == "closed"


def test_i8_acts_are_recorded_with_actor_and_reason_and_without_ids(
    state, desk, connect, sentinel_lab
):
    session = state.sessions.create(user="mallory")
    desk("tokens", "revoke", "--jti", "jti-in-clear", "--expires-at", in_an_hour(),
         "--reason", "first", "--actor", "alice")  # fmt: skip
    desk("sessions", "end", "--user", "mallory", "--reason", "second", "--actor", "bob")
    desk("limits", "reset", "api", "ip:203.0.113.9", "--reason", "third")
    desk("circuits", "force", "upstream", "closed", "--reason", "fourth")
    records = desk("audit")
    assert [each["reason"] for each in records] == ["fourth", "third", "second", "first"]
    assert [each["actor"] for each in records][2:] == ["bob", "alice"]
    assert all(each["actor"] for each in records)
    assert records[0]["target"] == "upstream"
    assert records[3]["outcome"] == "replicated"
    stored = str(connect(sentinel_lab).xrange("aragora:audit"))
    for secret in ("jti-in-clear", "mallory", "203.0.113.9", session.id):
        assert secret not in stored


def test_an_operator_is_no_instance_and_looking_changes_nothing(state, desk, connect, sentinel_lab):
    state.sessions.create(user="42")
    state.tokens.revoke("j", expires_at=time.time() + 3600)
    state.rate_limits.check("api", "ip:203.0.113.9")
    state.close()
    client = connect(sentinel_lab)
    keys = presence_keys("aragora")
    beats, rows = keys.beats, keys.rows
    until(
        lambda: client.zcount(beats, time.time() * 1e3, "+inf") == 0 or client.delete(beats, rows)
    )

    def held():
        return {key: client.dump(key) for key in client.scan_iter("*")}

    client = connect(sentinel_lab)
    client.connection_pool.connection_kwargs["decode_responses"] = False
    client.connection_pool.reset()
    before = held()
    desk("tokens", "list")
    desk("tokens", "look", "--jti", "j")
    desk("limits", "look", "api", "ip:203.0.113.9")
    desk("sessions", "list", "--user", "42")
    desk("circuits", "list")
    desk("audit")
    assert held() == before


def test_i1_who_would_revoke_by_another_name_is_refused(state, cli, env):
    del state
    revoke = ("tokens", "revoke", "--user", "u", "--reason", "r")
    code, out, err = cli(*revoke, **(env | {"ARAGORA_DIGEST_KEY": "another-key-of-some-length"}))
    assert (code, out) == (1, "")
    assert "have another digest key" in err
    code, _, err = cli(*revoke, **(env | {"ARAGORA_KEY_PREFIX": "other"}))
    assert code == 0
    assert "no instance is alive under the prefix 'other'" in err


def test_a_fleet_that_was_killed_locks_nobody_out(standalone_lab, cli, connect):
    keys, client = presence_keys("killed"), connect(standalone_lab)
    client.hset(keys.rows, "boot", "e policies 9.0 1 5 f1f1f1f1 ok 3 web-1")
    client.zadd(keys.beats, {"boot": (time.time() - 60) * 1e3})
    env = standalone_lab.env() | {"ARAGORA_KEY_PREFIX": "killed"}
    code, _, err = cli("tokens", "revoke", "--user", "u", "--reason", "r", **env)
    assert code == 0, err
    assert "no instance is alive under the prefix 'killed'" in err
    assert "web-1" not in cli("status", **env)[1]


@pytest.mark.parametrize("where", ["--reason", "--actor"])
def test_what_would_rule_a_terminal_is_refused(standalone_lab, cli, where):
    arguments = ["tokens", "revoke", "--user", "u", "--reason", "r", "--actor", "a"]
    arguments[arguments.index(where) + 1] = "\x1b[2Jgone"
    code, _, err = cli(*arguments, **standalone_lab.env())
    assert code == 1
    assert "a control character" in err


def test_what_others_have_stored_does_not_rule_a_terminal(state, cli, env):
    state.tokens.revoke("j", expires_at=time.time() + 600, reason="\x1b[2J\na row of its own")
    until(lambda: "x1b" in cli("tokens", "list", **env)[1])
    listed = cli("tokens", "list", **env)[1]
    assert "\x1b" not in listed
    assert "\\x1b[2J\\na row of its own" in listed


def test_a_broken_policies_file_keeps_no_token_in_force(standalone_lab, cli, policies):
    env = standalone_lab.env() | policies("nonsense =")
    assert cli("tokens", "revoke", "--user", "u", "--reason", "r", **env)[0] == 0
    assert "not TOML" in cli("limits", "list", **env)[2]


def test_records_are_found_by_actor_and_by_target(state, desk):
    del state
    for actor, name in (("alice", "one"), ("bob", "two")):
        desk("circuits", "force", name, "open", "--reason", "r", "--actor", actor)
    assert [each["target"] for each in desk("audit", "--actor", "alice")] == ["one"]
    assert [each["actor"] for each in desk("audit", "--target", "two")] == ["bob"]


def test_without_a_primary_nothing_is_done_and_that_is_said(sentinel_lab, cli, env):
    sentinel_lab.kill("all")
    code, out, err = cli("tokens", "revoke", "--user", "42", "--reason", "left", **env)
    assert (code, out) == (1, "")
    assert "cannot be reached" in err
    assert "nothing was done" in err


def test_a_wrong_password_is_named(cli, env):
    code, _, err = cli("tokens", "list", **(env | {"ARAGORA_REDIS_PASSWORD": "not-this-one"}))
    assert code == 1
    assert "refused the credentials (check ARAGORA_REDIS_PASSWORD" in err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["tokens", "revoke", "--jti", "x"], 2),
        (["tokens", "revoke", "--jti", "x", "--reason", "r"], 2),
        (["tokens", "revoke", "--jti", "x", "--user", "y", "--reason", "r"], 2),
        (["tokens", "revoke", "--user", "y", "--expires-at", "9", "--reason", "r"], 2),
        (["tokens", "revoke", "--jti", "x", "--issued-before", "9", "--reason", "r"], 2),
        (["tokens", "revoke", "--jti", "x", "--expires-at", "soon", "--reason", "r"], 2),
        (["tokens", "revoke", "--jti", "x", "--expires-at", "9", "--reason", ""], 1),
        (["tokens", "revoke", "--jti", "x", "--expires-at", "9", "--reason", "r"], 1),
        (["tokens", "revoke", "--token-file", "/nowhere", "--reason", "r"], 1),
        (["tokens", "look"], 2),
        (["tokens", "list", "--limit", "0"], 2),
        (["limits", "look", "nothing", "x"], 1),
        (["limits", "reset", "api", "", "--reason", "r"], 1),
        (["limits", "look", "api", "x" * 2000], 1),
        (["sessions", "end", "--reason", "r"], 2),
        (["sessions", "end", "--handle", "h", "--reason", "r"], 2),
        (["sessions", "end", "--user", "42", "--handle", "h", "--reason", "r"], 1),
        (["sessions", "end", "--user", "42", "--reason", "r" * 201], 1),
        (["sessions", "list", "--user", ""], 1),
        (["circuits", "force", "up", "sideways", "--reason", "r"], 2),
        (["circuits", "force", "up", "open", "--for", "ever", "--reason", "r"], 2),
        (["sessions", "end", "--everybody", "--user", "u", "--reason", "r"], 2),
        (["circuits", "look", "no name"], 1),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else str(value),
)
def test_what_cannot_be_meant_is_told(standalone_lab, cli, policies, arguments, code):
    ended, out, err = cli(*arguments, **standalone_lab.env(), **policies(POLICIES))
    assert (ended, out) == (code, "")
    assert "Traceback" not in err


def test_a_whole_token_is_verified_before_it_is_revoked(standalone_lab, cli, tmp_path):
    jwt = pytest.importorskip("jwt")
    env = standalone_lab.env() | {"ARAGORA_JWT_SECRET": "a-secret-of-enough-length-for-hs256"}
    file = tmp_path / "token"
    claims = {"jti": "whole", "exp": int(time.time()) + 3600}
    file.write_text(jwt.encode(claims, env["ARAGORA_JWT_SECRET"]))
    arguments = ("tokens", "revoke", "--token-file", str(file), "--reason", "r", "--json")
    code, out, _ = cli(*arguments, **env)
    assert (code, json.loads(out)["level"]) == (0, "primary")
    for exp, level in ((20 * 366 * 86_400, "primary"), (-7200, "local")):
        other = {"jti": f"whole{exp}", "exp": int(time.time()) + exp}
        file.write_text(jwt.encode(other, env["ARAGORA_JWT_SECRET"]))
        code, out, _ = cli(*arguments, **env)
        assert (code, json.loads(out)["level"]) == (0, level)
    file.write_text(jwt.encode(claims, "another-secret-of-enough-length-000"))
    code, out, err = cli(*arguments, **env)
    assert (code, out) == (1, "")
    assert "its signature does not match" in err
