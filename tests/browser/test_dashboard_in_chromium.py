"""The dashboard as a browser shows it: its script, its stream, its policy, and who can use it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
from tests.browser.axe import violations
from tests.browser.chromium import browser, find

from aragora_redis.gateway.app import create_app
from aragora_redis.gateway.server import listen, serve
from aragora_redis.settings import from_env
from aragora_redis.state.shared import SharedState

PROGRAM = find()
pytestmark = pytest.mark.skipif(not PROGRAM, reason="no Chromium is here: see scripts/chromium")

LIVE = "document.querySelector('#liveness')?.textContent === 'Live'"
LOST = "document.querySelector('#liveness').textContent.startsWith('Reconnecting')"
ASKED = "document.querySelector('#dialog').open"
SHOWN = "document.querySelector('.servers [data-kind=primary] th b')?.textContent"
ENTER, ESCAPE, TAB = ("Enter", 13), ("Escape", 27), ("Tab", 9)
ADMIN = "admin-token-000001"
TOKENS = {"ARAGORA_GATEWAY_TOKEN": "gateway-token-0001", "ARAGORA_ADMIN_TOKEN": ADMIN}


@pytest.fixture
def page(tmp_path):
    with browser(PROGRAM, tmp_path / "profile") as page:
        page.look_like()
        yield page


@asynccontextmanager
async def gateway(env, port=0, lab=None):
    """A gateway; yields the address of its dashboard."""
    (listener,) = listen("127.0.0.1", port)
    app = create_app(SharedState(from_env(env)), lab=lab)
    stop = asyncio.Event()
    serving = asyncio.create_task(serve(app, [listener], stop))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/dashboard"
    finally:
        stop.set()
        await serving


def says(selector, text):
    return f"document.querySelector({selector!r})?.innerText.includes({text!r})"


def headline(text):
    return says("#health", text)


def log_in(page, url, token):
    page.open(url)
    page.run(f"document.querySelector('#token').value = {token!r}")
    page.click("form button")


def leading_box(page):
    """Who stands in the picture as primary."""
    return page.run("document.querySelector('.wide [data-kind=primary] .name').textContent")


def watch_a_failover(page, url, token):
    log_in(page, url, "wrong")
    page.await_that("document.querySelector('#fault') !== null")
    refused, page.complaints[:] = list(page.complaints), []
    assert all("403" in complaint for complaint in refused), refused

    log_in(page, url, token)
    page.await_that(LIVE)
    page.await_that(headline("Healthy"))
    old = page.await_that(SHOWN)
    assert leading_box(page) == old
    feeds = "document.querySelectorAll('.wide [data-does=feeds][data-whole=true]')"
    page.await_that(f"{feeds}.length === 2")
    page.run("window.loadedAt = performance.timeOrigin")
    page.run("document.querySelector('#revoke-who').value = 'typed'")
    page.click("[id='kill-primary']")
    page.await_that(says("#journal", f"killed {old}"))
    page.await_that(f"{headline(f'Without {old}')} || {headline('Last interruption')}")
    page.await_that(headline("Last interruption"))
    # A moment without Redis has the same headline: the next primary may not be shown yet.
    page.await_that(f"(({SHOWN}) || '{old}') !== '{old}'")
    assert leading_box(page) == page.run(SHOWN)
    page.await_that(says(".servers", "dead"))
    page.await_that(says("#doctor", "refuses connections"))
    assert violations(page) == []
    page.click("[id='restore-all']")
    page.await_that(says("#journal", f"restored {old}"))
    page.await_that(f"!({says('.servers', 'dead')})")
    assert page.run("window.loadedAt === performance.timeOrigin"), "the page was loaded again"
    assert page.run("document.querySelector('#revoke-who').value") == "typed"

    page.open(url)
    page.await_that(LIVE)
    page.await_that(headline("Last interruption"))
    assert page.complaints == []


async def test_a_failover_is_watched_and_caused_without_a_reload(page, sentinel_lab):
    env = sentinel_lab.env()
    async with gateway(env, lab=sentinel_lab) as url:
        await asyncio.to_thread(watch_a_failover, page, url, env["ARAGORA_ADMIN_TOKEN"])


async def test_a_lost_stream_is_regained(page, standalone_lab):
    env = standalone_lab.env()
    async with gateway(env, lab=standalone_lab) as url:
        await asyncio.to_thread(log_in, page, url, env["ARAGORA_ADMIN_TOKEN"])
        await asyncio.to_thread(page.await_that, LIVE)
    await asyncio.to_thread(page.await_that, LOST)
    port = int(url.removesuffix("/dashboard").rpartition(":")[2])
    async with gateway(env, port, lab=standalone_lab):
        await asyncio.to_thread(page.await_that, LIVE)
        await asyncio.to_thread(page.await_that, headline("Healthy"))


def use_it(page, url):
    """Force a circuit without a mouse, on a phone, in the dark, and let it go again."""
    log_in(page, url, ADMIN)
    page.await_that(LIVE)
    page.press(*TAB)
    assert page.run("document.activeElement.textContent") == "Skip to the topology"

    page.run("document.querySelector('#circuit-target').value = 'llm'")
    page.run("document.querySelector('#circuit-target').focus()")
    page.press(*ENTER)
    page.await_that(ASKED)
    said = page.run("document.querySelector('#dialog').innerText")
    for told in ("Hold circuit llm open?", "Who is affected", "For how long", "Can it be undone"):
        assert told in said
    page.press(*ESCAPE)
    page.await_that(f"!({ASKED})")
    assert page.run("document.activeElement.id") == "circuit-target", "the focus is back"
    assert not page.run(says("#circuits", "forced-open"))

    page.press(*ENTER)
    page.await_that(ASKED)
    assert page.run("document.activeElement.id") == "reason"
    for width, scheme in ((1280, "light"), (390, "dark")):
        page.look_like(width=width, scheme=scheme)
        assert violations(page) == []
    page.run("document.querySelector('#reason').value = 'a <b>drill</b>'")
    page.press(*ENTER)
    page.await_that(says("#dialog", "Circuit llm is forced-open."))
    page.click("#dialog [data-closes]")
    page.await_that(says("#circuits", "by admin token"))
    page.await_that(says("#circuits", "a <b>drill</b>"))
    for width, scheme in ((390, "dark"), (390, "light"), (800, "dark")):
        page.look_like(width=width, scheme=scheme)
        assert violations(page) == []
        assert page.run("document.documentElement.scrollWidth") <= width, "it sticks out"

    page.click("[id='ask-circuit-auto-llm']")
    page.await_that(says("#dialog", "decide again?"))
    page.click("#dialog button.strong")
    page.await_that(says("#dialog", "Circuit llm is closed."))
    page.click("#dialog [data-closes]")
    page.await_that(f"!({says('#circuits', 'forced-open')})")
    assert page.complaints == []


async def test_what_is_done_asks_first_and_needs_no_mouse(page):
    async with gateway(TOKENS) as url:
        await asyncio.to_thread(use_it, page, url)
