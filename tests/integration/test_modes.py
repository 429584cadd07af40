"""From one Redis to Sentinels, a cluster, a managed service: the settings change, nothing else.

The keys are the same everywhere, so the data of one deployment are at home in the next.
"""

from __future__ import annotations

import time

import pytest
import redis

from aragora_redis import SharedState
from aragora_redis.errors import CircuitOpenError

ORDER = ("standalone", "sentinel", "cluster", "managed")
POLICIES = '[limits.api]\nrate = "1 per 1 hour"\nburst = 10\n'


@pytest.fixture
def policies(tmp_path, monkeypatch):
    # The data have been elsewhere, and nobody who is alive is waited for.
    monkeypatch.setattr("aragora_redis.state.revocations.feed.BOOTSTRAP_AGE", 0.5)
    file = tmp_path / "policies.toml"
    file.write_text(POLICIES)
    return file


def primaries(lab):
    """A client for each node that holds a part of the data."""
    nodes = [lab.node(each.name) for each in lab.status().nodes if each.role in ("primary", None)]
    return [
        lab._site.access(node).client(node, timeout=5) for node in nodes if node.kind == "redis"
    ]


def data_of(lab):
    """Every key with its value and time to live, as it would be moved."""
    found = {}
    for client in primaries(lab):
        with client:
            client.connection_pool.connection_kwargs["decode_responses"] = False
            for key in client.scan_iter(count=1000):
                found[key] = (client.dump(key), max(client.pttl(key), 0))
    return found


def bring(data, lab):
    """Write them where they belong."""
    clients = primaries(lab)
    for key, (value, ttl) in data.items():
        taken = []
        for client in clients:
            try:
                taken.append(client.restore(key, ttl, value, replace=True))
            except redis.exceptions.MovedError:
                continue
        assert len(taken) == 1, key
    for client in clients:
        client.close()


@pytest.mark.timeout(180)
async def test_a_deployment_changes_its_mode_by_its_settings_alone(make_lab, policies):
    data: dict[bytes, tuple[bytes, int]] = {}
    soon = time.time() + 3600
    session_id: str | None = None
    for step, mode in enumerate(ORDER):
        lab = make_lab(mode)
        lab.start()
        bring(data, lab)
        env = {
            "ARAGORA_POLICIES": str(policies),
            "ARAGORA_DIGEST_KEY": "the-same-everywhere-long",
            "ARAGORA_REDIS_DEADLINE": "1",  # no noise of the machine is taken for trouble of Redis
        }
        async with SharedState.from_env(lab.env() | env) as state:
            assert state.settings.mode == mode.replace("managed", "standalone")
            for before in range(step):
                claims = {"jti": f"of-step-{before}", "exp": soon}
                assert state.tokens.is_revoked(claims), (mode, before)
            await state.tokens.revoke(f"of-step-{step}", expires_at=soon)
            if step == 0:
                session = await state.sessions.create(user="42", data={"steps": []})
                session_id = session.id
            found = await state.sessions.get(session_id or "")
            assert found is not None
            assert found.data["steps"] == list(ORDER[:step])
            await state.sessions.update(found, set={"steps": [*found.data["steps"], mode]})
            decision = await state.rate_limits.check("api", "somebody")
            assert (decision.source.value, decision.remaining) == ("redis", 9 - step)
            if step == 0:
                await state.circuits.force("upstream", "open", reason="it moves too")
            with pytest.raises(CircuitOpenError):
                async with state.circuits["upstream"]:
                    pass
        data = data_of(lab)
        lab.stop()
