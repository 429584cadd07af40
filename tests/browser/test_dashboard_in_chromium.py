"""The dashboard as a browser shows it: its script, its stream, its policy."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
from tests.browser.chromium import browser, find

from aragora_redis.gateway.app import create_app
from aragora_redis.gateway.server import listen, serve
from aragora_redis.settings import from_env
from aragora_redis.state.shared import SharedState

PROGRAM = find()
pytestmark = pytest.mark.skipif(not PROGRAM, reason="no Chromium is installed")

LIVE = "document.querySelector('#liveness').textContent === 'Live'"
LOST = "document.querySelector('#liveness').textContent.startsWith('Reconnecting')"


@pytest.fixture
def page(tmp_path):
    with browser(PROGRAM, tmp_path / "profile") as page:
        yield page


@asynccontextmanager
async def gateway(lab, port=0):
    """The gateway of a lab; yields its port."""
    (listener,) = listen("127.0.0.1", port)
    app = create_app(SharedState(from_env(lab.env())), lab=lab)
    stop = asyncio.Event()
    serving = asyncio.create_task(serve(app, [listener], stop))
    try:
        yield listener.getsockname()[1]
    finally:
        stop.set()
        await serving


def headline(text):
    return f"document.querySelector('#health').innerText.includes({text!r})"


def log_in(page, url, token):
    page.open(url)
    page.run(f"document.querySelector('#token').value = {token!r}")
    page.click("form button")


SHOWN = "document.querySelector('.servers [data-kind=primary] th b')?.textContent"


def primary(page):
    return page.await_that(SHOWN)


def watch_a_failover(page, url, token):
    log_in(page, url, "wrong")
    page.await_that("document.querySelector('#fault') !== null")
    refused, page.complaints[:] = list(page.complaints), []
    assert all("403" in complaint for complaint in refused), refused

    log_in(page, url, token)
    page.await_that(LIVE)
    page.await_that(headline("Healthy"))
    old = primary(page)
    page.run("window.loadedAt = performance.timeOrigin")
    page.click("[id='kill-primary']")
    page.await_that(f"document.querySelector('#journal').innerText.includes('killed {old}')")
    page.await_that(headline("Last interruption"))
    # A moment without Redis has the same headline: the next primary may not be shown yet.
    page.await_that(f"(({SHOWN}) || '{old}') !== '{old}'")
    page.click("[id='restore-all']")
    page.await_that(f"document.querySelector('#journal').innerText.includes('restored {old}')")
    assert page.run("window.loadedAt === performance.timeOrigin"), "the page was loaded again"

    page.open(url)
    page.await_that(LIVE)
    assert page.complaints == []


async def test_a_failover_is_watched_and_caused_without_a_reload(page, sentinel_lab):
    token = sentinel_lab.env()["ARAGORA_ADMIN_TOKEN"]
    async with gateway(sentinel_lab) as port:
        url = f"http://127.0.0.1:{port}/dashboard"
        await asyncio.to_thread(watch_a_failover, page, url, token)


async def test_a_lost_stream_is_regained(page, standalone_lab):
    token = standalone_lab.env()["ARAGORA_ADMIN_TOKEN"]
    async with gateway(standalone_lab) as port:
        await asyncio.to_thread(log_in, page, f"http://127.0.0.1:{port}/dashboard", token)
        await asyncio.to_thread(page.await_that, LIVE)
    await asyncio.to_thread(page.await_that, LOST)
    async with gateway(standalone_lab, port):
        await asyncio.to_thread(page.await_that, LIVE)
        await asyncio.to_thread(page.await_that, headline("Healthy"))
