"""`aragora-redis label-keeper`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from ..clock import SYSTEM_CLOCK
from ..events import Events
from ..extras import demand
from ..link.supervision import supervised
from ..settings import Settings, from_env
from ..telemetry.logs import EventLog, configure_logging
from . import output
from .options import AsJson

_NEEDED = ("httpx",)
_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


def label_keeper(
    *,
    once: Annotated[
        bool, typer.Option("--once", help="Look and label one time; 0 if the labels are right.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what would be written, and write nothing.")
    ] = False,
    probe_port: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65535,
            help="Answer /livez and /readyz on this port of all addresses, for Kubernetes.",
            show_default="none",
        ),
    ] = None,
    account: Annotated[
        Path,
        typer.Option(
            "--service-account",
            metavar="PATH",
            help="Where token, ca.crt and namespace are.",
        ),
    ] = _ACCOUNT,
    as_json: AsJson = False,
) -> None:
    """Label the pod of the primary `role=master` and all others `role=replica`, until SIGTERM.

    So the Service `redis-master` leads clients that know no Sentinels. It runs in Kubernetes, and
    labels the pods with `app=redis` in its own namespace. Nothing is changed unless most Sentinels
    name one primary and that says so itself. With --once the exit code is 0 where the labels are
    right, and 1 otherwise.
    """
    demand("the label keeper", _NEEDED, "kubernetes")
    settings = from_env()
    configure_logging(settings.log_level, settings.log_format)
    text, right = asyncio.run(
        _run(settings, account, once=once, dry_run=dry_run, probe_port=probe_port)
    )
    if as_json:
        output.write_json({"right": right, "text": text})
    else:
        output.write(text)
    raise typer.Exit(not right)


async def _run(
    settings: Settings, account: Path, *, once: bool, dry_run: bool, probe_port: int | None
) -> tuple[str, bool]:
    """What to tell at the end, and whether all is well."""
    from ..ops.label_keeper import (  # noqa: PLC0415 - what it needs is an extra
        Cluster,
        LabelKeeper,
        Witness,
        serve_probes,
    )

    events, news = Events(), asyncio.Event()
    EventLog().listen(events)
    witness = Witness(settings, clock=SYSTEM_CLOCK, events=events, on_news=news.set)
    cluster = Cluster.around(os.environ, account)
    keeper = LabelKeeper(witness, cluster, SYSTEM_CLOCK, news=news, dry_run=dry_run)
    async with contextlib.AsyncExitStack() as stack:
        if probe_port is not None:
            await stack.enter_async_context(serve_probes(probe_port, keeper.vitals, SYSTEM_CLOCK))
        stack.push_async_callback(witness.close)
        witness.start()
        if once:
            outcome = await keeper.look()
            return outcome.text, outcome.right
        await _until_signal(supervised("the label keeper", keeper.run))
        return "ended", True


async def _until_signal(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.ensure_future(work)
    for each in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(each, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task
