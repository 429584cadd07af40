"""The pictures of the dashboard in docs/, taken of real deployments in a real browser.

`python -m tests.browser.screenshots --write` takes them anew; it needs a Chromium and Pillow
(scripts/group drills).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
from tests.browser.chromium import Page, browser, find
from tests.browser.test_dashboard_in_chromium import ASKED, LIVE, gateway, headline, log_in, says
from tests.integration.past import give_past

from aragora_redis.lab import Lab, Mode

FOLDER = Path(__file__).parents[2] / "docs" / "dashboard"
LARGEST = 150_000
"""Bytes that a picture may have."""
COLOURS = 96
ATTEMPTS = 5
PRELUDE = 12.0
"""Seconds of load before the first picture, so that there is something to see."""
POLICIES = """
[limits.api]
rate = "3/second"
burst = 10
on_outage = "fail-open"

[circuits.mail]
open_for = "30 seconds"
reporters = 1
"""


def main() -> None:
    """Take all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", required=True)
    parser.parse_args()
    if not find():
        sys.exit("there is no Chromium: scripts/chromium fetches one")
    FOLDER.mkdir(exist_ok=True)
    asyncio.run(_take_all())


async def _take_all() -> None:
    async with _deployment(Mode.SENTINEL) as (page, lab):
        await asyncio.to_thread(_of_sentinels, page, lab)
    async with _deployment(Mode.CLUSTER) as (page, lab):
        await asyncio.to_thread(_of_cluster, page, lab)


def _of_sentinels(page: Page, lab: Lab) -> None:
    page.await_that("document.querySelector('.interruption') === null")
    _keep("healthy-dark", page, scheme="dark", height=1500)
    page.look_like(scale=1.5, height=900)
    page.click("#ask-switchover")
    page.await_that(ASKED)
    _keep("confirmation", page, height=620)
    page.click("#dialog [data-closes]")
    _catch_a_failover(page, lab)
    _keep("failover", page, height=1130)
    page.await_that(headline("Last interruption"))
    page.await_that(f"!({says('.servers', 'no answer')}) && document.getAnimations().length === 0")
    _keep("phone", page, width=390, height=1180)


def _catch_a_failover(page: Page, lab: Lab) -> None:
    """Kill the primary, and see it missed: that lasts for a second, so it takes a few attempts."""
    seen = f"{headline('Failing over')} && {says('.servers', 'no link')}"
    for attempt in range(ATTEMPTS):
        lab.kill("primary")
        try:
            page.await_that(seen, seconds=6)
        except AssertionError:
            if attempt == ATTEMPTS - 1:
                raise
            lab.start_all()
            page.await_that(f"{headline('Healthy')} && !({says('.servers', 'dead')})")
        else:
            return


def _of_cluster(page: Page, lab: Lab) -> None:
    lab.kill("redis-1")
    primaries = "document.querySelectorAll('.wide [data-kind=primary]').length === 3"
    page.await_that(f"{headline('Without redis-1')} && {says('.servers', 'dead')} && {primaries}")
    _keep("cluster", page, height=1080)


def _keep(name: str, page: Page, *, height: int, width: int = 1280, scheme: str = "light") -> None:
    from PIL import Image  # noqa: PLC0415 - only whoever takes pictures needs it

    page.look_like(width=width, height=height, scheme=scheme, scale=1.5)
    page.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    with Image.open(io.BytesIO(page.screenshot())) as picture:
        few = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    path = FOLDER / f"{name}.png"
    few.save(path, optimize=True)
    size = path.stat().st_size
    sys.stdout.write(f"{path.name}: {size / 1000:.0f} kB\n")
    if size > LARGEST:
        sys.exit(f"{path.name} has more than {LARGEST / 1000:.0f} kB")


@asynccontextmanager
async def _deployment(mode: Mode) -> AsyncIterator[tuple[Page, Lab]]:
    """A lab under load, and its dashboard in a browser."""
    with tempfile.TemporaryDirectory() as made, _lab(Path(made) / "lab", mode) as lab:
        await asyncio.to_thread(give_past, lab)
        policies = Path(made) / "policies.toml"
        policies.write_text(POLICIES)
        env = lab.env() | {"ARAGORA_POLICIES": str(policies), "ARAGORA_INSTANCE_ID": "gateway-1"}
        with browser(find(), Path(made) / "profile") as page:
            page.look_like(scale=1.5)
            async with gateway(env, lab=lab) as url, _load(url.removesuffix("/dashboard"), env):
                await asyncio.to_thread(log_in, page, url, env["ARAGORA_ADMIN_TOKEN"])
                await asyncio.to_thread(page.await_that, f"{LIVE} && {headline('Healthy')}")
                await asyncio.sleep(PRELUDE)
                yield page, lab


@contextmanager
def _lab(directory: Path, mode: Mode) -> Iterator[Lab]:
    lab = Lab.create(directory, mode, ports="free")
    try:
        lab.start()
        yield lab
    finally:
        lab.stop()


@asynccontextmanager
async def _load(url: str, env: dict[str, str]) -> AsyncIterator[None]:
    """Callers of all kinds, for as long as it is open."""
    headers = {"Authorization": f"Bearer {env['ARAGORA_ADMIN_TOKEN']}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=5) as client:
        ways = (
            *(_repeated(_checking(client, subject), every) for subject, every in _SUBJECTS.items()),
            _repeated(lambda: _calls(client, "llm", ok=True), 0.3),
            _repeated(lambda: _calls(client, "mail", ok=False), 0.5),
            _repeated(lambda: _sessions(client), 0.4),
        )
        tasks = [asyncio.create_task(way) for way in ways]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


_SUBJECTS = {"ip:203.0.113.9": 0.05, "ip:203.0.113.10": 0.1, "ip:203.0.113.11": 0.3, "ann": 0.12}
"""Who is checked, and each how many seconds."""


async def _repeated(work: Callable[[], Any], every: float) -> None:
    while True:
        with contextlib.suppress(httpx.HTTPError):
            await work()
        await asyncio.sleep(every)


def _checking(client: httpx.AsyncClient, subject: str) -> Callable[[], Any]:
    return lambda: client.post("/v1/limits/api/check", json={"subject": subject})


async def _calls(client: httpx.AsyncClient, circuit: str, *, ok: bool) -> None:
    answer = await client.post(f"/v1/circuits/{circuit}/acquire")
    if answer.is_success:
        result = {"permit": answer.json()["permit"], "ok": ok, "duration": 0.1}
        await client.post(f"/v1/circuits/{circuit}/report", json=result)


async def _sessions(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/sessions", json={"user": "ann", "data": {"theme": "dark"}})
    if answer.is_success:
        await client.get("/v1/sessions", headers={"X-Session-Id": answer.json()["id"]})


if __name__ == "__main__":
    main()
