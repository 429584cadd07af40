"""Scripts that answer something else: their readers say so, and what is read breaks nothing."""

from __future__ import annotations

from functools import partial
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.calls import IN_MEMORY, NUMBERS, Calls
from tests.fuzz.effort import effort
from tests.fuzz.resp import like

from aragora_redis.errors import AragoraRedisError
from aragora_redis.operation import Operation
from aragora_redis.sessions import operations as sessions
from aragora_redis.sessions.ids import SessionRef
from aragora_redis.testing import memory_state
from aragora_redis.tokens import operations as tokens
from aragora_redis.tokens.entry import Entry
from aragora_redis.tokens.position import Position

POLICIES = (
    '[limits.api]\nrate = "100/second"\non_outage = "fail-open"\n[sessions]\nmax_per_user = 2\n'
)


async def spoiled(run, data: st.DataObject, operation: Operation[Any], *, within: float) -> Any:
    """Run an operation, and let the example change what it is answered."""
    replies: list[Any] = []
    fields = {name: getattr(operation, name) for name in Operation.__struct_fields__}
    await run(Operation(**fields | {"read": replies.append}), within=within)
    return operation.result(data.draw(like(replies[0])))


@effort(40)
@given(st.sampled_from(IN_MEMORY), st.data())
async def test_a_call_whose_answers_are_nearly_right(faults, ask, data):
    async with memory_state(POLICIES) as state:
        executor: Any = state.embedded
        run = executor.run
        executor.run = partial(spoiled, run, data)
        try:
            repr(await getattr(Calls(state), ask)(f"fed-{next(NUMBERS)}"))
        except AragoraRedisError as error:
            str(error)
        finally:
            executor.run = run
        made = await state.sessions.create(user="sane", data={"a": 1})
        found = await state.sessions.get(made.id)
        assert found is not None
        assert found.data == {"a": 1}
    faults.assert_none()


KEYS = tokens.ShardKeys("p", 3)
HEAD = [b"nonce", b"n", b"rid", b"r" * 40, b"era", b"2", b"seq", b"9", b"opened", b"5"]
BLOB = b"\x08" + b"m" * 8 + b"%06d%015d" % (20_000, 5)
SHARD = (
    (
        tokens.survey(KEYS, [20_000]),
        [1, [*HEAD, b"end:1", b"r 5"], [b"c:20000", b"1", b"x:20000", b"f"], [1]],
    ),
    (tokens.standing(KEYS), [b"n", b"r" * 40, b"2", b"9"]),
    (tokens.feed_after(KEYS, Position(b"n", b"r", 1, 1)), [[b"2-1", [b"b", BLOB]]]),
    (tokens.scan_day(KEYS, 20_000, b"0"), [b"0", [b"m" * 8, b"5"]]),
    (tokens.first_of_day(KEYS, 20_000, 0, 9, 5), [[b"m" * 8, 5.0]]),
    (tokens.count_of_day(KEYS, 20_000, 0, 9), 3),
    (tokens.score_of(KEYS, 20_000, b"m" * 8), 5.0),
    (tokens.note_of(KEYS, 20_000, b"m" * 8), b"j\tann\twhy"),
    (tokens.lease(KEYS, "me", take=True), 1),
    (tokens.join(KEYS, [Entry(20_000, b"m" * 8, 5)], nonce=b"n"), [b"n", b"r", 2, 9, 1, 5]),
    (
        sessions.of_user(sessions.SessionKeys("p"), SessionRef(1, b"u" * 16)),
        [b"m" * 16, b"5"],
    ),
)


@effort(60)
@given(st.sampled_from(SHARD).flatmap(lambda pair: st.tuples(st.just(pair[0]), like(pair[1]))))
def test_what_is_read_of_revocations(asked):
    operation, reply = asked
    try:
        repr(operation.result(reply))
    except AragoraRedisError as error:
        assert error.message
