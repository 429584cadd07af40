"""Sessions encrypted in Redis: what lies there, who can read it, and how keys are replaced."""

from __future__ import annotations

import asyncio

import pytest
import redis
from tests.integration.fleet import instances, until

from aragora_redis.errors import SessionGoneError, SessionUnreadableError
from aragora_redis.events import SessionRefused

OLD, NEW = "old:" + "o" * 40, "new:" + "n" * 40


@pytest.fixture
def raw(standalone_lab):
    node = standalone_lab.node("redis-0")
    with redis.Redis(port=node.port, password=standalone_lab.password(node)) as client:
        yield client


@pytest.fixture
def prefix(request):
    return {"ARAGORA_KEY_PREFIX": f"rest-{abs(hash(request.node.name))}"}


def key_of(state, session):
    return state.sessions._store.keys.session(session.ref)


def refusals(state):
    heard = []
    state.events.subscribe(
        lambda event: heard.append(event.reason) if isinstance(event, SessionRefused) else None
    )
    return heard


async def test_nothing_of_a_session_is_readable_in_redis(standalone_lab, raw, prefix):
    async with instances(standalone_lab, 2, ARAGORA_SESSION_KEYS=OLD, **prefix) as (one, two):
        made = await one.sessions.create(user="someone@example.org", data={"card": "4111-1111"})
        read = [await state.sessions.get(made.id) for state in (one, two)]
        await asyncio.gather(
            *(
                state.sessions.update(session, set={f"f{number}": "text-in-clear"})
                for number, (state, session) in enumerate(zip((one, two), read, strict=True))
            )
        )
        rotated = await two.sessions.rotate(read[0])
        assert (rotated.user, rotated.data) == (
            "someone@example.org",
            {"card": "4111-1111", "f0": "text-in-clear", "f1": "text-in-clear"},
        )
        assert (await one.sessions.get(made.id)).data == rotated.data, "the old id leads on"
        held = b"".join(raw.dump(key) or b"" for key in raw.scan_iter(b"rest-*:s:*"))
        values = raw.hgetall(key_of(one, rotated))
        assert not any(text in held for text in (b"4111", b"in-clear", b"someone"))
        assert all(b"\x01\x03old" in values[name] for name in values if name.startswith(b"d:"))
        assert len(await one.sessions.of_user("someone@example.org")) == 1


async def test_a_value_that_was_moved_or_changed_counts_as_no_session(standalone_lab, raw, prefix):
    """Taken from another field, from another session, from before a rotation, or flipped."""
    async with instances(standalone_lab, 1, ARAGORA_SESSION_KEYS=OLD, **prefix) as (state,):
        rich = await state.sessions.create(user="rich", data={"role": "admin"})
        heard = refusals(state)
        for source in ("own field", "other session", "flipped", "cut off", "user"):
            poor = await state.sessions.create(user="poor", data={"role": "user", "name": "p"})
            key, there = key_of(state, poor), key_of(state, rich)
            own = raw.hget(key, "d:role")
            field, value = {
                "own field": ("d:role", raw.hget(key, "d:name")),
                "other session": ("d:role", raw.hget(there, "d:role")),
                "flipped": ("d:role", own[:-1] + bytes((own[-1] ^ 1,))),
                "cut off": ("d:role", own[: own.index(b"\x01") + 6]),
                "user": ("u", raw.hget(there, "u")),
            }[source]
            raw.hset(key, field, value)
            assert await state.sessions.get(poor.id) is None
            with pytest.raises(SessionUnreadableError) as refused:
                await state.sessions.update(poor, set={"x": 1})
            assert isinstance(refused.value, SessionGoneError)
            await state.sessions.end(poor.id)  # what cannot be read can be ended
            await until(lambda poor=poor: state.revocations.has_ended(poor.ref.member))
        assert set(heard) == {"tampered"}


async def test_keys_are_replaced_without_losing_a_session(standalone_lab, raw, prefix, tmp_path):
    """Plain, then an old key, then a new one in a file that is read again; a lost key is loud."""
    file = tmp_path / "keys"
    async with instances(standalone_lab, 1, **prefix) as (plain,):
        made = await plain.sessions.create(user="42", data={"a": 1, "b": 2})
        file.write_text(f"{OLD}\n")
        env = prefix | {"ARAGORA_SESSION_KEYS_FILE": str(file)}
        async with instances(standalone_lab, 1, **env) as (state,):
            read = await state.sessions.get(made.id)
            assert (read.user, read.data) == ("42", {"a": 1, "b": 2})
            await state.sessions.update(read, set={"a": 3})
            values = raw.hgetall(key_of(state, made))
            assert all(b"\x01\x03old" in values[name] for name in (b"d:a", b"d:b", b"u"))
            heard = refusals(plain)
            assert await plain.sessions.get(made.id) is None, "it has no key"
            assert heard == ["unknown-key"]
            file.write_text(f"{NEW}\n{OLD}\n")
            await until(lambda: state.sessions._store.keys.seal._keys()[0].name == "new")
            before = await state.sessions.get(made.id)
            writers = [state.sessions.update(before, set={f"w{n}": n}) for n in range(10)]
            await asyncio.gather(*writers)
            values = raw.hgetall(key_of(state, made))
            assert all(b"\x01\x03new" in v for n, v in values.items() if n[:2] in (b"d:", b"u"))
            assert len((await state.sessions.get(made.id)).data) == 12
            file.write_text("garbage")
            await asyncio.sleep(1.1)  # the cadence at which the file is read is the subject
            assert (await state.sessions.get(made.id)).data["a"] == 3, "the last good keys hold"
        file.write_text(NEW)
        strict = env | {"ARAGORA_SESSION_PLAINTEXT": "refuse"}
        async with instances(standalone_lab, 1, **strict) as (state,):
            assert (await state.sessions.get(made.id)).user == "42"
            injected = await plain.sessions.create(user="root")
            heard = refusals(state)
            assert await state.sessions.get(injected.id) is None
            assert heard == ["plain"]
