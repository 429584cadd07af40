"""The example for Flask while its Redis dies under requests and comes back."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
from tests.integration.past import give_past
from tests.integration.test_examples import serving

PROBLEM = "application/problem+json"
PATIENT = {"ARAGORA_REDIS_DEADLINE": "1", "ARAGORA_RATE_LIMIT_FAIL_OPEN": "true"}
"""How busy this machine is, is not what this is about."""
COMMAND = (
    "gunicorn", "app:create_app()", "--preload", "--threads", "4", "--bind", "127.0.0.1:{port}",
    "--log-level", "warning",
)  # fmt: skip


def holding(client, cookie):
    """A client of the same service with this cookie alone."""
    return httpx.Client(base_url=client.base_url, cookies={"session": cookie}, timeout=10)


def logged_in(client, user):
    """The cookie of a new login."""
    client.cookies.clear()
    assert client.post("/login", data={"user": user}).status_code == 200
    return client.cookies["session"]


def profile(client, cookie):
    with holding(client, cookie) as other:
        return other.get("/healthz"), other.get("/profile")


def test_writes_are_told_a_logout_holds_and_nothing_else_fails(make_lab):
    lab = make_lab("standalone")
    lab.start()
    give_past(lab)
    with serving("flask", COMMAND, lab, **PATIENT) as client:
        ends, stays = logged_in(client, "1"), logged_in(client, "2")
        begun = threading.Event()

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
        assert '"api"' in refused.headers["ratelimit"]
        assert "set-cookie" not in refused.headers
        health, written = profile(client, stays)  # which counts visits
        assert (health.status_code, written.status_code) == (200, 503)
        with holding(client, ends) as other:
            out = other.post("/logout")
        assert out.status_code == 204
        assert "Max-Age=0" in out.headers["set-cookie"]
        assert profile(client, ends)[1].status_code == 401
        lab.start_all()
        end = time.monotonic() + 30
        while (back := profile(client, stays)[1]).status_code != 200:
            assert time.monotonic() < end, back.text
            time.sleep(0.05)
        assert back.json()["user"] == "2"
        assert profile(client, ends)[1].status_code == 401
