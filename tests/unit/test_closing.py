"""What must not be left undone when a state is closed."""

from __future__ import annotations

from aragora_redis import SharedState

ROTATED = 300
"""More than are ended in one step while a state runs."""


async def test_rotated_ids_are_ended_with_the_state_and_their_ends_are_kept(tmp_path):
    """Until then an old id leads on, and a failover that loses the rotation would revive it."""
    env = {
        "ARAGORA_MODE": "embedded",
        "ARAGORA_DIGEST_KEY": "k" * 32,
        "ARAGORA_TOKENS_OUTBOX": str(tmp_path / "outbox"),
    }
    state = SharedState.from_env(env)
    old: list[bytes] = []
    async with state:
        for number in range(ROTATED):
            session = await state.sessions.create(user=f"user-{number}")
            await state.sessions.rotate(session)
            old.append(session.ref.member)
    assert all(state.revocations.has_ended(each) for each in old)
    async with SharedState.from_env(env) as heir:
        assert all(heir.revocations.has_ended(each) for each in old)
