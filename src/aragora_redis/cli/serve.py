"""`aragora-redis serve`."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from msgspec.structs import replace

from ..extras import demand
from ..lab import Lab
from ..settings import from_env
from ..telemetry.logs import configure_logging
from . import output
from .options import AsJson

_NEEDED = (
    "cryptography",
    "fastapi",
    "httptools",
    "httpx",
    "jwt",
    "prometheus_client",
    "starlette",
    "uvicorn",
)
_GRACE = 8.0


def serve(
    *,
    host: Annotated[
        str | None,
        typer.Option(help="Where to listen.", show_default="ARAGORA_HOST, else 127.0.0.1"),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="The port.", show_default="ARAGORA_PORT, else 8080"),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, max=256, help="How many processes.", show_default="ARAGORA_WORKERS, else 1"
        ),
    ] = None,
    lab: Annotated[
        Path | None,
        typer.Option(help="The dashboard gets levers for the lab in this directory."),
    ] = None,
    end_with_stdin: Annotated[bool, typer.Option("--end-with-stdin", hidden=True)] = False,
    as_json: AsJson = False,
) -> None:
    """Run the gateway against the configured Redis, until SIGTERM or Ctrl-C.

    The settings come from the environment; `aragora-redis settings` shows them.
    """
    demand_gateway()
    if end_with_stdin:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    settings = from_env()
    gateway = replace(
        settings.gateway,
        host=host or settings.gateway.host,
        port=port or settings.gateway.port,
        workers=workers or settings.gateway.workers,
    )
    acted_on = Lab.open(lab) if lab is not None else None
    configure_logging(settings.log_level, settings.log_format)
    from ..gateway.server import run, run_in_loop  # noqa: PLC0415 - what it needs is an extra

    settings = replace(settings, gateway=gateway)
    tell = _tell(as_json=as_json or settings.log_format == "json")  # all of its lines are JSON then
    if gateway.workers > 1:
        from ..gateway.workers import run_workers  # noqa: PLC0415 - one alone needs none of it

        asyncio.run(run_workers(settings, lab=lab, on_listening=tell))
    else:
        run_in_loop(run(settings, lab=acted_on, on_listening=tell))


def demand_gateway() -> None:
    """Make sure that the gateway can be run.

    Raises:
        SettingsError: what it needs is not installed.
    """
    demand("the gateway", _NEEDED, "gateway")


def _tell(*, as_json: bool) -> Callable[[str], None]:
    if as_json:
        return lambda url: output.write_json_line({"listening": url})
    return lambda url: output.note(f"listening on {url}", style="")


def _end_with_stdin() -> None:
    """End this process when whoever started it has ended: nobody else writes to its input."""
    while os.read(0, 1024):
        continue
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE)
    os._exit(1)
