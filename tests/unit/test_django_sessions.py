"""`SESSION_ENGINE` over an in-process state: what Django expects of a store, and what ours adds."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor

import pytest
from asgiref.sync import sync_to_async
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.utils import timezone
from tests import django_service as service
from tests.django_service import AsyncClient, Client, User, override_settings

from aragora_redis.errors import LinkDownError, SessionUnreadableError
from aragora_redis.policies import parse_policies
from aragora_redis.testing.sync import memory_state
from aragora_redis.web.django import state as held
from aragora_redis.web.django.sessions import SessionStore

POLICIES = """
[limits.api]
rate = "1000 per second"
[limits.login]
rate = "2 per minute"
[sessions]
idle = "30 minutes"
absolute = "2 hours"
longest = "30 days"
"""
COOKIE = "sessionid"


@pytest.fixture(autouse=True)
def state(monkeypatch):
    with memory_state(POLICIES) as made:
        monkeypatch.setattr(held, "_made", made)
        yield made


@pytest.fixture
def users():
    service.make_tables()
    User.objects.all().delete()
    return [User.objects.create_user(name, password="p") for name in ("ann", "bob")]


@pytest.fixture
def client(users):
    assert users
    service.gate.set()
    return Client()


@pytest.fixture
def away(state):
    """Redis is away while the event is set."""
    executor = state._crossing.here.embedded

    def away(*, gone=True):
        executor.outage = LinkDownError("there is no connection: a test") if gone else None

    yield away
    executor.outage = None


@pytest.fixture
def asked(state, monkeypatch):
    """The scripts that were run."""
    found = []
    run = state._crossing.here.embedded.run

    async def counted(operation, **more):
        found.extend([operation.script.name] if operation.script else [])
        return await run(operation, **more)

    monkeypatch.setattr(state._crossing.here.embedded, "run", counted)
    return found


def forget(state, client):
    """Let no copy of the client's session be left."""
    session = state.sessions.of_cookie(client.cookies[COOKIE].value)
    state._crossing.here.sessions._store.forget(session.ref)


def stored(session_key):
    return dict(SessionStore(session_key).items())


# --- what Django expects of every store ---------------------------------------------------


def test_a_new_one_holds_nothing_and_is_not_stored():
    session = SessionStore()
    assert session.is_empty()
    assert session.session_key is None
    assert (session.modified, session.accessed) == (False, False)


def test_what_is_put_is_read_back():
    session = SessionStore()
    session["cart"] = ["book"]
    session["n"] = 1
    session.setdefault("m", None)
    assert session.modified
    session.save()
    assert session.exists(session.session_key)
    assert stored(session.session_key) == {"cart": ["book"], "n": 1, "m": None}
    assert session.pop("n") == 1
    del session["m"]
    session.save()
    assert stored(session.session_key) == {"cart": ["book"]}


def test_create_keeps_what_it_holds_and_gives_a_key_at_once():
    session = SessionStore()
    session["cart"] = [1]
    session.create()
    assert session.modified
    assert stored(session.session_key) == {"cart": [1]}
    first = session.session_key
    session.save(must_create=True)
    assert session.session_key != first
    assert stored(first) == {"cart": [1]}


def test_one_that_a_view_begins_by_saving_it_is_the_clients(client, asked):
    client.get("/begin")
    assert SessionStore().exists(client.cookies[COOKIE].value)
    client.get("/begin")
    assert asked.count("session_create") == 1


def test_reading_makes_nothing_out_of_a_key_that_nobody_gave():
    for made_up in ("1", "x" * 86, "x" * 100_000, f"{'A' * 46}.1.{'A' * 22}", "a\x00b", "ü" * 46):
        session = SessionStore(made_up)
        assert session.session_key is None
        assert session.get("x") is None
        assert not session.exists(made_up)


def test_flush_ends_it_and_the_next_save_begins_another():
    session = SessionStore()
    session["x"] = 1
    session.save()
    before = session.session_key
    session.flush()
    assert session.session_key is None
    assert session.is_empty()
    assert not SessionStore().exists(before)
    session["y"] = 2
    session.save()
    assert stored(session.session_key) == {"y": 2}


def test_delete_ends_this_one_or_that_of_a_key_and_bears_what_is_none():
    session, other = SessionStore(), SessionStore()
    session.save()
    other.save()
    session.delete(other.session_key)
    assert session.exists(session.session_key)
    assert not session.exists(other.session_key)
    session.delete()
    assert not session.exists(session.session_key)
    for none in (None, "", "made-up", other.session_key):
        session.delete(none)


def test_cycling_gives_another_key_keeps_the_data_and_ends_the_old_one():
    session = SessionStore()
    session["a"] = 1
    session.save()
    before = session.session_key
    unread = SessionStore(before)
    unread["b"] = 2
    unread.cycle_key()
    assert unread.session_key != before
    assert dict(unread.items()) == {"a": 1, "b": 2}
    unread.save()
    assert stored(unread.session_key) == {"a": 1, "b": 2}
    assert not session.exists(before)


def test_one_that_is_not_stored_has_no_key_to_cycle():
    session = SessionStore()
    session["a"] = 1
    session.cycle_key()
    assert session.session_key is None
    session.save()
    assert stored(session.session_key) == {"a": 1}


def test_one_that_was_emptied_unread_is_empty_then():
    session = SessionStore()
    session.update({"a": 1, "b": 2})
    session.save()
    again = SessionStore(session.session_key)
    again.clear()
    again["c"] = 3
    again.save()
    assert stored(again.session_key) == {"c": 3}


def test_saving_one_that_was_ended_elsewhere_brings_nothing_back():
    session = SessionStore()
    session["a"] = 1
    session.save()
    for change in (lambda s: s.update({"b": 1}), lambda s: s.clear()):
        under_way = SessionStore(session.session_key)
        assert under_way["a"] == 1
        change(under_way)
        if session.session_key:
            session.flush()
        with pytest.raises(UpdateError):
            under_way.save()
        assert not SessionStore().exists(under_way.session_key)
        session["a"] = 1
        session.save()


def test_cycling_one_that_was_ended_elsewhere_carries_over_what_was_put_now_alone():
    session = SessionStore()
    session["secret"] = "of another login"
    session.save()
    under_way = SessionStore(session.session_key)
    assert "secret" in under_way
    under_way["mine"] = 1
    session.flush()
    under_way.cycle_key()
    assert dict(under_way.items()) == {"mine": 1}
    under_way.save()
    assert stored(under_way.session_key) == {"mine": 1}


def test_cycling_the_session_of_a_user_that_another_request_has_cycled_is_interrupted():
    session = SessionStore()
    session["_auth_user_id"] = "1"
    session.save()
    first, second = (SessionStore(session.session_key) for _ in range(2))
    assert first["_auth_user_id"] == second["_auth_user_id"]
    first.cycle_key()
    with pytest.raises(SessionInterrupted):
        second.cycle_key()
    assert stored(first.session_key) == {"_auth_user_id": "1"}


async def test_the_async_names_do_the_same():
    session = SessionStore()
    await session.aset("a", 1)
    await session.asave()
    first = session.session_key
    assert await session.aexists(str(first))
    again = SessionStore(first)
    assert await again.aget("a") == 1
    await again.acycle_key()
    assert not await again.aexists(str(first))
    await again.aupdate({"b": 2})
    await again.asave()
    assert dict(await SessionStore(again.session_key).aitems()) == {"a": 1, "b": 2}
    last = again.session_key
    await again.aflush()
    assert not await again.aexists(str(last))
    await again.acreate()
    assert await again.aexists(str(again.session_key))
    await again.adelete()
    assert not await again.aexists(str(again.session_key))
    await SessionStore.aclear_expired()
    SessionStore.clear_expired()


# --- how long -----------------------------------------------------------------------------


def life_of(state, session_key):
    session = state.sessions.of_cookie(session_key)
    return session.idle, session.expires_at - session.created_at


def test_it_lives_as_the_settings_say(state):
    session = SessionStore()
    session.save()
    assert life_of(state, session.session_key) == (3600, 7200)
    session["x"] = 1
    session.set_expiry(86_400)
    before = session.session_key
    session.save()
    assert session.get_expiry_age() == 86_400
    assert life_of(state, session.session_key) == (86_400, 86_400)
    assert not session.exists(before)
    assert stored(session.session_key)["x"] == 1
    session["x"] = 2
    kept = state.sessions.of_cookie(session.session_key).handle
    session.save()
    assert state.sessions.of_cookie(session.session_key).handle == kept
    session.set_expiry(None)
    session.save()
    assert life_of(state, session.session_key) == (3600, 7200)


def test_a_date_is_its_end(state, monkeypatch):
    session = SessionStore()
    session.set_expiry(timezone.now() + dt.timedelta(minutes=10))
    session.save()
    idle, absolute = life_of(state, session.session_key)
    assert (idle, absolute) == (pytest.approx(600, abs=2), 7200)
    session["x"] = 1
    session.save()
    assert SessionStore(session.session_key)["x"] == 1
    later = timezone.now() + dt.timedelta(minutes=11)
    with monkeypatch.context() as then:
        then.setattr(timezone, "now", lambda: later)
        assert stored(session.session_key) == {}
    assert state.sessions.of_cookie(session.session_key) is None


def test_a_date_that_is_put_off_with_each_request_keeps_the_id(state):
    session = SessionStore()
    for _ in range(3):
        session.set_expiry(dt.timedelta(minutes=10))
        session.save()
    assert session.handle == state.sessions.of_cookie(session.session_key).handle
    first = session.handle
    session.set_expiry(dt.timedelta(minutes=9))
    session.save()
    assert session.handle == first
    session.set_expiry(dt.timedelta(hours=1))
    session.save()
    assert session.handle != first


@pytest.mark.parametrize("stored_before", [False, True])
def test_one_whose_time_is_over_is_none(stored_before):
    session = SessionStore()
    if stored_before:
        session.save()
    before = session.session_key
    session["foo"] = "bar"
    session.set_expiry(-dt.timedelta(seconds=10))
    session.save()
    assert "foo" not in SessionStore(session.session_key)
    assert before is None or not session.exists(before)


def test_until_the_browser_is_closed_it_lives_as_by_default(state):
    session = SessionStore()
    session.set_expiry(0)
    session.save()
    assert session.get_expire_at_browser_close()
    assert life_of(state, session.session_key) == (3600, 7200)


def test_the_cookie_of_one_whose_time_is_over_is_taken_back(client):
    for already_stored in (False, True):
        if already_stored:
            client.get("/put?a=1")
        answer = client.get("/remember?for=-5")
        assert answer.status_code == 200
        assert answer.cookies[COOKIE].value == ""
        assert answer.cookies[COOKIE]["max-age"] == 0
        assert client.get("/read").json() == {}


# --- whose --------------------------------------------------------------------------------


def handles(state, user):
    return [each.handle for each in state.sessions.of_user(str(user.pk))]


def test_a_login_gives_another_key_and_is_one_of_the_users_sessions(client, state, users):
    client.get("/put?cart=book")
    anonymous = client.cookies[COOKIE].value
    assert client.get("/log_in", HTTP_USER_AGENT="Firefox").content == b"ok"
    assert not SessionStore().exists(anonymous)
    told = client.get("/me").json()
    assert told["user"] == "ann"
    (shown,) = state.sessions.of_user(str(users[0].pk))
    assert (shown.handle, shown.device, shown.address) == (told["handle"], "Firefox", "127.0.0.1")
    assert client.get("/read").json()["cart"] == "book"
    kept = client.cookies[COOKIE].value
    client.get("/log_out")
    assert handles(state, users[0]) == []
    client.cookies[COOKIE] = kept
    assert client.get("/me").json()["user"] == ""


def test_under_the_id_of_before_a_login_no_login_is_ever_stored(client, state, monkeypatch):
    """Whoever planted that id in the user's browser sees nothing of it, not for an instant."""
    client.get("/put?cart=book")
    seen = []
    run = state._crossing.here.embedded.run

    async def spied(operation, **more):
        script = operation.script.name if operation.script else ""
        if script == "session_update":
            seen.append([b"_auth_user_id" in operation.args, operation.keys[0]])
        return await run(operation, **more)

    planted = state.sessions.of_cookie(client.cookies[COOKIE].value)
    monkeypatch.setattr(state._crossing.here.embedded, "run", spied)
    client.get("/log_in")
    after = state.sessions.of_cookie(client.cookies[COOKIE].value)
    assert after.user is not None
    assert seen
    assert [each for each in seen if each[0] and each[1] != _key(state, after)] == []
    assert planted.ref.member != after.ref.member


def _key(state, session):
    return state._crossing.here.sessions._store.keys.session(session.ref)


def test_logging_in_as_another_ends_the_session_of_the_first(client, state, users):
    client.get("/log_in?user=ann")
    client.get("/put?cart=book")
    client.get("/log_in?user=bob")
    assert handles(state, users[0]) == []
    assert len(handles(state, users[1])) == 1
    assert "cart" not in client.get("/read").json()


def test_a_changed_password_gives_another_key_and_ends_the_others(client):
    other = Client()
    for each in (client, other):
        each.get("/log_in")
    before = client.cookies[COOKIE].value
    client.get("/change_password")
    assert client.get("/me").json()["user"] == "ann"
    assert not SessionStore().exists(before)
    assert other.get("/me").json()["user"] == ""


def test_all_sessions_of_a_user_end_at_once(client, state, users):
    client.get("/log_in")
    state.sessions.end_user(str(users[0].pk), reason="disabled")
    assert client.get("/me").json()["user"] == ""


def test_a_session_whose_user_leaves_without_a_flush_is_another_one(client, state, users):
    client.get("/log_in")
    client.get("/clear")
    assert handles(state, users[0]) == []
    assert client.get("/read").json() == {}


def test_a_session_that_another_service_gave_a_user_stays_theirs(state):
    cookie = state.sessions.cookie(state.sessions.create("42", {"of": "flask"}))
    session = SessionStore(cookie)
    session["mine"] = 1
    session.save()
    (shown,) = state.sessions.of_user("42")
    assert shown.handle == session.handle


def test_a_session_that_changes_hands_is_the_one_that_was_read_or_stays(state):
    session = SessionStore()
    session["_auth_user_id"] = "1"
    session.save()
    first, second = (SessionStore(session.session_key) for _ in range(2))
    assert "cart" not in second
    first["cart"] = "book"
    first.save()
    second["_auth_user_id"] = "2"
    with pytest.raises(UpdateError):
        second.save()
    assert state.sessions.of_user("2") == []
    assert stored(session.session_key) == {"_auth_user_id": "1", "cart": "book"}


def test_a_login_that_comes_second_gets_nothing_of_the_anonymous_session():
    anonymous = SessionStore()
    anonymous["cart"] = "book"
    anonymous.save()
    first, second = (SessionStore(anonymous.session_key) for _ in range(2))
    for each, user in ((first, "1"), (second, "2")):
        assert each["cart"] == "book"
        each["_auth_user_id"] = user
    first.save()
    second.save()
    assert stored(first.session_key) == {"cart": "book", "_auth_user_id": "1"}
    assert stored(second.session_key) == {"_auth_user_id": "2"}


def test_what_is_put_at_the_login_comes_along_as_json_has_it():
    session = SessionStore()
    session["cart"] = []
    session.save()
    again = SessionStore(session.session_key)
    again["cart"].append((1, 2))
    again["_auth_user_id"] = "1"
    again.save()
    assert stored(again.session_key) == {"cart": [[1, 2]], "_auth_user_id": "1"}


def test_remember_me_is_a_longer_life(client, state, users):
    client.get("/log_in")
    client.get("/remember?for=86400")
    assert life_of(state, client.cookies[COOKIE].value) == (86_400, 86_400)
    assert client.get("/me").json()["user"] == "ann"
    assert len(handles(state, users[0])) == 1
    assert client.cookies[COOKIE]["max-age"] == 86_400


def test_too_many_sessions_are_a_conflict(client, state):
    policies = parse_policies(POLICIES + 'max_per_user = 1\non_full = "refuse"\n', source="test")
    state.use_policies(policies)
    client.get("/log_in")
    other = Client()
    other.get("/put?cart=book")
    answer = other.get("/log_in")
    assert answer.status_code == 409
    assert answer["content-type"] == "application/problem+json"
    assert other.get("/read").json() == {"cart": "book"}


# --- at once ------------------------------------------------------------------------------


def test_requests_at_once_lose_nothing_of_each_other(client):
    client.get("/put?a=1")
    kept = client.cookies[COOKIE].value
    service.gate.clear()
    with ThreadPoolExecutor(2) as pool:
        under_way = [pool.submit(_get, kept, f"/slow?{name}=2") for name in ("b", "c")]
        for _ in under_way:
            assert service.waiting.acquire(timeout=10)
        _get(kept, "/put?d=2")
        service.gate.set()
        assert [each.result().status_code for each in under_way] == [200, 200]
    assert stored(kept) == {"a": "1", "b": "2", "c": "2", "d": "2"}


def _get(cookie, path):
    client = Client(raise_request_exception=False)
    client.cookies[COOKIE] = cookie
    return client.get(path)


def test_of_two_that_change_one_field_one_is_told(client):
    client.get("/put?a=1")
    kept = client.cookies[COOKIE].value
    service.gate.clear()
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(_get, kept, "/slow?a=2")
        assert service.waiting.acquire(timeout=10)
        _get(kept, "/put?a=3")
        service.gate.set()
        assert under_way.result().status_code == 400
    assert stored(kept)["a"] == "3"


def test_two_that_both_remove_a_field_want_the_same():
    session = SessionStore()
    session.update({"a": 1, "message": "saved"})
    session.save()
    first, second = (SessionStore(session.session_key) for _ in range(2))
    assert first.pop("message") == second.pop("message")
    first.save()
    second.save()
    assert second.session_key == first.session_key
    assert stored(session.session_key) == {"a": 1}


def test_where_that_is_chosen_the_last_one_wins():
    session = SessionStore()
    session.update({"a": 1, "b": 1})
    session.save()
    late = SessionStore(session.session_key)
    assert late["a"] == 1
    session.update({"a": 2, "b": 2})
    session.save()
    late["a"] = 3
    with override_settings(ARAGORA={"SESSIONS": {"on_conflict": "overwrite"}}):
        late.save()
    assert stored(late.session_key) == {"a": 3, "b": 2}


def test_a_logout_wins_over_a_request_that_is_under_way(client, users, state):
    client.get("/log_in")
    kept = client.cookies[COOKIE].value
    service.gate.clear()
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(_get, kept, "/slow?a=2")
        assert service.waiting.acquire(timeout=10)
        _get(kept, "/log_out")
        service.gate.set()
        assert under_way.result().status_code == 400
    assert handles(state, users[0]) == []
    assert _get(kept, "/me").json()["user"] == ""


@override_settings(SESSION_SAVE_EVERY_REQUEST=True)
def test_a_late_answer_that_only_read_does_not_hand_out_the_id_of_before_a_login(client):
    client.get("/put?a=1")
    anonymous = client.cookies[COOKIE].value
    service.gate.clear()
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(_get, anonymous, "/slow_read")
        assert service.waiting.acquire(timeout=10)
        client.get("/log_in")
        service.gate.set()
        answer = under_way.result()
    assert answer.status_code == 400
    assert COOKIE not in answer.cookies


@override_settings(SESSION_SAVE_EVERY_REQUEST=True)
@pytest.mark.parametrize("copied", [True, False], ids=["copied", "not-copied"])
def test_a_late_answer_that_only_read_needs_no_redis(client, state, away, monkeypatch, copied):
    monkeypatch.setattr("aragora_redis.state.sessions.sessions.CURRENT_FOR", 0.0)
    kept = client.get("/put?a=1").cookies[COOKIE].value
    service.gate.clear()
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(_get, kept, "/slow_read")
        assert service.waiting.acquire(timeout=10)
        if not copied:
            forget(state, client)
        away()
        service.gate.set()
        answer = under_way.result()
    assert (answer.status_code, answer.json()) == (200, {"a": "1"})
    assert COOKIE not in answer.cookies, "nobody knows whether it is the client's still"
    away(gone=False)
    assert _get(kept, "/read").cookies[COOKIE].value == kept


@pytest.mark.parametrize("copied", [True, False], ids=["copied", "not-copied"])
def test_an_id_that_a_request_has_made_is_sent_though_redis_went_away_since(
    client, state, away, monkeypatch, copied
):
    monkeypatch.setattr("aragora_redis.state.sessions.sessions.CURRENT_FOR", 0.0)
    kept = client.get("/put?a=1").cookies[COOKIE].value
    service.gate.clear()
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(_get, kept, "/slow_cycle")
        assert service.waiting.acquire(timeout=10)
        if not copied:
            state._crossing.here.sessions._store._copies._copies.clear()
        away()
        service.gate.set()
        answer = under_way.result()
    away(gone=False)
    assert answer.status_code == 200
    assert stored(answer.cookies[COOKIE].value) == {"a": "1"}
    assert stored(kept) == {}


@pytest.mark.parametrize("where", ["a=2", "a=2&now=1"], ids=["at the response", "in the view"])
def test_a_new_id_reaches_the_client_though_what_came_after_it_is_not_written(client, away, where):
    kept = client.get("/put?a=1").cookies[COOKIE].value
    service.gate.clear()
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(_get, kept, f"/slow_cycle?{where}")
        assert service.waiting.acquire(timeout=10)
        away()
        service.gate.set()
        answer = under_way.result()
    away(gone=False)
    assert (answer.status_code, answer["vary"]) == (503, "Cookie")
    given = answer.cookies[COOKIE]
    assert (given["max-age"], given["httponly"], given["samesite"]) == (3600, True, "Lax")
    assert stored(given.value) == {"a": "1"}
    assert stored(kept) == {}


def test_saving_one_that_is_as_it_was_read_asks_only_where_it_may_have_changed(asked, monkeypatch):
    session = SessionStore()
    session["a"] = 1
    session.save()
    late = SessionStore(session.session_key)
    assert late["a"] == 1
    assert asked.count("session_read") == 1
    late.save()
    assert asked.count("session_read") == 1
    session["b"] = 2
    session.save()
    late.save()
    assert asked.count("session_read") == 2
    assert late.session_key == session.session_key, "the client has seen this version"
    assert dict(late.items()) == {"a": 1, "b": 2}
    monkeypatch.setattr(
        "aragora_redis.state.sessions.sessions.CURRENT_FOR", 0.0
    )  # another may write too
    late.save()
    assert asked.count("session_read") == 3


# --- what cannot be stored, or not now ------------------------------------------------------


class Tongue(str):
    """As Django's own `SafeString` is one."""

    __slots__ = ()


def test_what_json_makes_another_thing_of_comes_back_as_that():
    session = SessionStore()
    session.update({"t": (1, 2), "s": Tongue("x"), "k": {1: "x"}})
    session.save()
    assert stored(session.session_key) == {"t": [1, 2], "s": "x", "k": {"1": "x"}}


def test_what_json_has_not_is_told_and_nothing_is_stored(client, caplog):
    answer = client.get("/wrong")
    assert answer.status_code == 422
    assert "of type object" in answer.json()["detail"]
    assert COOKIE not in client.cookies
    assert "is not written" in caplog.text


def test_an_outage_is_a_problem_and_no_traceback(client, away):
    client.get("/log_in")
    kept = client.cookies[COOKIE].value
    away()
    assert client.get("/me").json()["user"] == "ann"  # a copy of the last seconds
    answer = client.get("/put?a=1")
    assert (answer.status_code, answer["content-type"]) == (503, "application/problem+json")
    assert answer["retry-after"] == "1"
    assert client.cookies[COOKIE].value == kept
    assert Client().get("/read").status_code == 200  # who has no session needs no Redis
    away(gone=False)
    assert client.get("/put?a=1").status_code == 200


@pytest.mark.parametrize("path", ["/read", "/me", "/aread", "/ame"])
def test_a_session_that_cannot_be_read_is_a_problem(client, away, state, path):
    client.get("/log_in")
    kept = client.cookies[COOKIE].value
    forget(state, client)
    away()
    with override_settings(MIDDLEWARE=service.MIDDLEWARE[1:]):  # nobody else answers for it
        client = type(client)()
        client.cookies[COOKIE] = kept
        answer = client.get(path)
    assert (answer.status_code, answer["retry-after"]) == (503, "1")


def test_a_logout_holds_in_an_outage(client, away):
    client.get("/log_in")
    kept = client.cookies[COOKIE].value
    away()
    assert client.get("/log_out").status_code == 200
    assert _get(kept, "/me").json()["user"] == ""
    away(gone=False)
    assert _get(kept, "/me").json()["user"] == ""


def test_a_session_is_ended_also_where_it_cannot_be_read(client, away, state):
    client.get("/log_in")
    kept = client.cookies[COOKIE].value
    forget(state, client)
    away()
    assert client.get("/flush").status_code == 200
    away(gone=False)
    assert _get(kept, "/me").json()["user"] == ""


@pytest.mark.parametrize("path", ["/log_out", "/flush", "/log_in"])
def test_what_cannot_be_opened_here_is_ended_all_the_same(client, state, path, monkeypatch):
    """By a logout and a login: other instances may have the key that this one lacks."""
    client.get("/log_in")
    kept = client.cookies[COOKIE].value
    forget(state, client)

    async def unreadable(*_given, **_more):
        raise SessionUnreadableError("unknown-key")

    with monkeypatch.context() as patch:
        patch.setattr(state._crossing.here.sessions._store, "find", unreadable)
        assert client.get(path).status_code == 200
    assert _get(kept, "/me").json()["user"] == ""


def test_a_handler_of_errors_that_was_nearer_does_not_hide_an_outage(client, away, state):
    """A middleware behind the session's that needs the user: Django makes a 500 of that."""
    client.get("/log_in")
    forget(state, client)
    away()
    needs = [*service.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
    with override_settings(MIDDLEWARE=needs):
        other = Client(raise_request_exception=False)
        other.cookies[COOKIE] = client.cookies[COOKIE].value
        assert other.get("/read").status_code == 503


def test_what_is_no_fault_of_ours_stays_one(client):
    client.raise_request_exception = False
    assert client.get("/fails").status_code == 500


def test_a_made_up_cookie_costs_no_round_trip_and_is_taken_back(client, away):
    away()
    client.cookies[COOKIE] = "x" * 4000
    answer = client.get("/read")
    assert answer.json() == {}
    assert answer.cookies[COOKIE]["max-age"] == 0


def test_a_late_answer_to_the_id_of_before_a_login_takes_no_cookie_back(client):
    client.get("/put?cart=book")
    anonymous = client.cookies[COOKIE].value
    client.get("/log_in")
    assert COOKIE not in _get(anonymous, "/me").cookies
    assert COOKIE not in _get(anonymous, "/read").cookies
    assert _get(anonymous, "/flush").cookies[COOKIE]["max-age"] == 0
    assert _get(anonymous, "/put?new=1").cookies[COOKIE].value


def test_an_older_state_than_the_client_has_seen_ends_the_session(client, state, users):
    client.get("/log_in")
    session = state.sessions.of_cookie(client.cookies[COOKIE].value)
    client.cookies[COOKIE] = state.sessions.witness.cookie(session.id, session.version + 10**6)
    assert client.get("/me").json()["user"] == ""
    assert handles(state, users[0]) == []


# --- as Django's users use it -----------------------------------------------------------


def test_djangos_test_client_logs_in_and_sees_the_session(users, state):
    client = Client()
    client.force_login(users[0])
    assert client.get("/me").json()["user"] == "ann"
    session = client.session
    session["x"] = 1
    session.save()
    assert client.get("/read").json()["x"] == 1
    assert len(handles(state, users[0])) == 1
    client.logout()
    assert handles(state, users[0]) == []


async def test_an_outage_is_a_problem_under_asgi_too(users, state, away):
    client = AsyncClient()
    await client.get("/alog_in")
    assert (await client.get("/ame")).json() == {"user": users[0].username}
    away()
    assert (await client.get("/aput?a=1")).status_code == 503
    member = (await sync_to_async(state.sessions.of_cookie)(client.cookies[COOKIE].value)).ref
    state._crossing.here.sessions._store.forget(member)
    for path in ("/aread", "/ame", "/me"):
        assert (await client.get(path)).status_code == 503


async def test_async_views_do_the_same():
    client = AsyncClient()
    await client.get("/aput?cart=book")
    anonymous = client.cookies[COOKIE].value
    await client.get("/alog_in")
    assert client.cookies[COOKIE].value != anonymous
    assert (await client.get("/ame")).json() == {"user": "ann"}
    assert (await client.get("/aread")).json()["cart"] == "book"
    kept = client.cookies[COOKIE].value
    await client.get("/alog_out")
    client.cookies[COOKIE] = kept
    assert (await client.get("/ame")).json() == {"user": ""}


def test_djangos_own_middleware_works_with_the_engine_alone():
    plain = [name for name in service.MIDDLEWARE if not name.startswith(service.OURS)]
    with override_settings(
        MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware", *plain]
    ):
        client = Client()
        client.get("/log_in")
        assert client.get("/me").json()["user"] == "ann"


def test_saved_at_each_request_the_cookie_lasts_anew_with_each(client):
    client.get("/put?a=1")
    assert COOKIE not in client.get("/read").cookies
    with override_settings(SESSION_SAVE_EVERY_REQUEST=True):
        assert client.get("/read").cookies[COOKIE].value == client.cookies[COOKIE].value


@override_settings(SESSION_SAVE_EVERY_REQUEST=True)
@pytest.mark.parametrize("path", ["/plain", "/read"])
def test_saved_at_each_request_one_that_has_ended_is_not_begun_anew(client, asked, path):
    client.get("/put?a=1")
    kept = client.cookies[COOKIE].value
    client.get("/flush")
    asked.clear()
    answer = _get(kept, path)
    assert (answer.status_code, COOKIE in answer.cookies) == (200, False)
    assert "session_create" not in asked


@override_settings(SESSION_SAVE_EVERY_REQUEST=True)
@pytest.mark.parametrize(("path", "says"), [("/plain", "ok"), ("/who", "nobody knows")])
def test_saved_at_each_request_an_answer_with_nothing_to_write_needs_no_redis(
    client, state, away, path, says
):
    kept = client.get("/put?a=1").cookies[COOKIE].value
    forget(state, client)
    away()
    answer = _get(kept, path)
    assert (answer.status_code, answer.content.decode()) == (200, says)
    assert COOKIE not in answer.cookies
    assert answer["vary"] == "Cookie"
    away(gone=False)
    assert _get(kept, path).cookies[COOKIE].value == kept


@override_settings(SESSION_SAVE_EVERY_REQUEST=True)
def test_what_changes_within_a_field_is_written_at_each_request_or_told(client, away):
    session = SessionStore()
    session["items"] = []
    session.save()
    client.cookies[COOKIE] = session.session_key
    away()
    assert client.get("/append").status_code == 503
    away(gone=False)
    assert client.get("/append").status_code == 200
    assert client.get("/read").json() == {"items": [1]}
