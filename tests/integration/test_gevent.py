"""The face for threads where gevent has put greenlets in their place, with the real gevent.

What gevent patches stays patched, so each is a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from urllib.parse import urlsplit

import pytest
from tests.integration.past import give_past

from aragora_redis.state.presence import presence_keys

POLICIES = """
[limits.slow]
rate = "2 per second"
burst = 1
[limits.leased]
rate = "1000 per second"
burst = 100000
lease = 3
[circuits.bounded]
max_concurrent = 15
max_wait = "20 seconds"
max_waiting = 25
"""

PROGRAM = """
import faulthandler
import gevent.monkey
gevent.monkey.patch_all()

import os, socket, sys, time
import gevent

if sys.argv[1] == "asyncio":
    sys.modules["uvloop"] = None
faulthandler.dump_traceback_later(40, exit=True)
resolve = gevent.monkey.get_original("socket", "getaddrinfo")
named = {"redis.test": os.environ["REDIS_HOST"]}
gevent.monkey.saved["socket"]["getaddrinfo"] = lambda host, *rest, **more: resolve(
    named.get(host, host), *rest, **more
)

from aragora_redis.sync import SharedState

ticks = 0

def tick():
    global ticks
    while True:
        gevent.sleep(0.01)
        ticks += 1

def together(work, count):
    return gevent.joinall([gevent.spawn(work, n) for n in range(count)], raise_error=True)

gevent.spawn(tick)
state = SharedState.from_env()
state.start()
together(lambda n: state.rate_limits.check("leased", f"first-{n}"), 5)
assert state.ready, "first calls wait, all of them, and there is one state"

# Who waits lets others run.
assert state.rate_limits.check("slow", "u").allowed
before = ticks
assert state.rate_limits.acquire("slow", "u", wait=20).allowed
assert ticks - before > 5, ticks - before

# Many at once, each inside by itself.
circuit = state.circuits["bounded"]

def call(n):
    for _ in range(20):
        assert state.rate_limits.check("leased", f"u-{n % 3}").allowed
    with circuit:
        assert state.status().in_flight["bounded"] <= 15
        gevent.sleep(0.01)

sys.setswitchinterval(1e-5)
together(call, 25)
sys.setswitchinterval(0.005)
assert state.status().in_flight["bounded"] == 0

# Files, in threads of the system.
receipt = state.tokens.revoke("j", expires_at=time.time() + 60)
assert (receipt.outbox, state.tokens.is_revoked({"jti": "j"})) == ("disk", True)
with open(os.environ["ARAGORA_POLICIES"], "a") as file:
    file.write('[limits.later]\\nrate = "1 per second"\\n')
state.reread_policies()
until = time.monotonic() + 10
while True:
    try:
        state.rate_limits.policy("later")
        break
    except Exception:
        assert time.monotonic() < until
        gevent.sleep(0.01)
assert not state.status().troubles
"""


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_greenlets_share_one_loop_and_hold_up_nobody(
    loop, standalone_lab, policies, connect, tmp_path
):
    prefix, program = f"gevent-{loop}", tmp_path / "program.py"
    program.write_text(PROGRAM)
    env = standalone_lab.env() | policies(POLICIES)
    env |= {"ARAGORA_KEY_PREFIX": prefix, "ARAGORA_REDIS_DEADLINE": "5"}
    give_past(standalone_lab, **env)
    host = urlsplit(env["ARAGORA_REDIS_URL"]).hostname or ""
    env |= {
        "ARAGORA_REDIS_URL": env["ARAGORA_REDIS_URL"].replace(host, "redis.test"),
        "REDIS_HOST": host,
        "ARAGORA_TOKENS_OUTBOX": str(tmp_path / "outbox"),
    }
    ended = subprocess.run(
        [sys.executable, str(program), loop],
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert not ended.stderr
    assert not connect(standalone_lab).zcard(presence_keys(prefix).beats), "it has left"
