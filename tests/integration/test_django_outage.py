"""The example for Django while its Redis dies and comes back, and workers are replaced."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
from tests.integration.past import give_past
from tests.integration.test_examples import serving, with_csrf_token

from aragora_redis.state.presence import presence_keys

PROBLEM = "application/problem+json"
PATIENT = {"ARAGORA_REDIS_DEADLINE": "1", "ARAGORA_RATE_LIMIT_FAIL_OPEN": "true"}
"""How busy this machine is, is not what these are about."""
CSRF = {"csrftoken": "c" * 32}


def gunicorn(*more):
    return ("gunicorn", "wsgi", "--bind", "127.0.0.1:{port}", "--log-level", "warning", *more)


def holding(client, cookie):
    """A client of the same service with this cookie alone."""
    return httpx.Client(
        base_url=client.base_url,
        cookies=CSRF | {"session": cookie},
        event_hooks={"request": [with_csrf_token]},
        timeout=10,
    )


def cart(client, cookie):
    with holding(client, cookie) as other:
        return other.get("/profile").json()["cart"]


def test_a_redis_that_dies_under_requests(make_lab):
    """Reads go on by copies, writes are told, a logout holds: also when all of it is back."""
    lab = make_lab("standalone")
    lab.start()
    give_past(lab)
    with serving("django", gunicorn("--threads", "4"), lab, **PATIENT) as client:
        client.event_hooks = {"request": [with_csrf_token]}
        client.cookies.update(CSRF)
        client.post("/cart/ends")
        ends = client.cookies["session"]
        del client.cookies["session"]
        client.post("/cart/stays")
        stays, begun = client.cookies["session"], threading.Event()

        def ask_until_refused():
            with holding(client, stays) as other:
                while (answer := other.post("/cart/more")).status_code == 200:
                    begun.set()
                return answer

        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(ask_until_refused)
            assert begun.wait(10)
            lab.kill("primary")
            refused = asked.result()
        assert (refused.status_code, refused.headers["content-type"]) == (503, PROBLEM)
        assert int(refused.headers["retry-after"]) >= 1
        assert "set-cookie" not in refused.headers
        assert "stays" in cart(client, stays)  # a copy of the last seconds
        with holding(client, ends) as other:
            assert other.post("/logout").status_code == 204
        assert cart(client, ends) == []
        assert cart(client, "x" * 3000) == []
        lab.start_all()
        end = time.monotonic() + 30
        while client.post("/cart/again").status_code != 200:
            assert time.monotonic() < end
            time.sleep(0.05)
        assert "again" in client.get("/profile").json()["cart"]
        assert cart(client, ends) == []


def test_a_worker_that_is_replaced_ends_its_state_and_no_session(standalone_lab, connect):
    more = PATIENT | {"ARAGORA_KEY_PREFIX": "recycled"}
    give_past(standalone_lab, ARAGORA_KEY_PREFIX="recycled")
    server, beats = connect(standalone_lab), presence_keys("recycled").beats
    command, seen = gunicorn("--preload", "--max-requests", "4"), set[bytes]()
    with serving("django", command, standalone_lab, **more) as client:
        client.event_hooks = {"request": [with_csrf_token]}
        client.cookies.update(CSRF)
        put: list[str] = []
        while len(seen) < 3:
            put.append(str(len(put)))
            assert len(put) < 100
            assert client.post(f"/cart/{put[-1]}").json()["cart"] == put
            seen |= set(server.zrange(beats, 0, -1))
        end = time.monotonic() + 4  # who is missed is counted for six seconds
        while server.zcard(beats) > 1:
            assert time.monotonic() < end
            time.sleep(0.05)
