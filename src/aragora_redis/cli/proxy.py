"""`aragora-redis proxy`."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Annotated

import typer

from ..address import Address
from ..clock import SYSTEM_CLOCK
from ..errors import InvalidInputError
from ..events import Events
from ..ops.plain_http import Answer, answering
from ..proxy import Plan, Proxy, run
from ..proxy.inbound import Inbound
from ..proxy.plan import WAIT, Role
from ..settings import Settings
from ..telemetry.logs import EventLog, configure_logging
from . import output
from .deployment import OfFeature, OfLab, settings_of
from .options import AsJson

PORT, REPLICAS_PORT, METRICS_PORT = 6390, 6391, 9190


def proxy(
    *,
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="The port that leads to the primary.")
    ] = f"127.0.0.1:{PORT}",
    replicas: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="A port that leads to replicas in turn (with Sentinels).",
            show_default="none",
        ),
    ] = None,
    fall_back: Annotated[
        bool,
        typer.Option(
            "--fall-back",
            help="That port leads to the primary while no replica is usable.",
        ),
    ] = False,
    max_lag: Annotated[
        float,
        typer.Option(min=0.5, metavar="SECONDS", help="How far behind a replica may be."),
    ] = 10.0,
    tls_cert: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="The proxy's certificate: programs connect with TLS."),
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Its key.", show_default="in --tls-cert")
    ] = None,
    tls_client_ca: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="Who must have signed the certificate that a program shows."
        ),
    ] = None,
    plain_to_all: Annotated[
        bool,
        typer.Option("--plain-to-all", help="Other machines may connect, though without TLS."),
    ] = False,
    login: Annotated[
        bool,
        typer.Option(
            "--login",
            help="Log connections in with the configured credentials (on loopback).",
        ),
    ] = False,
    max_connections: Annotated[
        int, typer.Option(min=1, max=100_000, help="How many at a time, on both ports together.")
    ] = 1000,
    wait: Annotated[
        float,
        typer.Option(
            min=0, max=60, metavar="SECONDS", help="How long a connection waits for a server."
        ),
    ] = WAIT,
    drain: Annotated[
        float,
        typer.Option(
            min=0, max=3600, metavar="SECONDS", help="How long connections have at the end."
        ),
    ] = 10.0,
    metrics: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="Where /metrics and /healthz are.", show_default="none"
        ),
    ] = None,
    lab: OfLab = None,
    of: OfFeature = None,
    as_json: AsJson = False,
) -> None:
    """Lead programs that cannot follow Sentinels, or a name, to the current primary.

    A connection is led to the server that has just proved to be the primary, and ends when another
    takes its place; the program connects again. Programs log in themselves. It runs until SIGTERM
    or Ctrl-C, then lets connections end; once more ends them. The settings come from the
    environment, or from --lab; `aragora-redis settings` shows them.
    """
    if tls_cert is None and (tls_key or tls_client_ca):
        raise typer.BadParameter("--tls-key and --tls-client-ca go with --tls-cert")
    plan = Plan(
        listen=_address(listen, PORT),
        replicas=_address(replicas, REPLICAS_PORT) if replicas else None,
        tls=Inbound(ca=tls_client_ca, cert=tls_cert, key=tls_key) if tls_cert else None,
        open_to_all=plain_to_all,
        max_connections=max_connections,
        wait=wait,
        drain=drain,
        max_lag=max_lag,
        falls_back=fall_back,
        logs_in=login,
        metrics=_address(metrics, METRICS_PORT) if metrics else None,
    )
    settings = settings_of(lab).of(of)
    plan.check(settings)
    configure_logging(settings.log_level, settings.log_format)
    asyncio.run(_run(settings, plan, as_json=as_json))


async def _run(settings: Settings, plan: Plan, *, as_json: bool) -> None:
    events = Events()
    EventLog().listen(events)
    made = Proxy(settings, plan, clock=SYSTEM_CLOCK, events=events)

    def answer(path: str) -> Answer:
        if path == "/metrics":
            return Answer(200, made.exposition().rstrip("\n"))
        if path == "/healthz":
            return Answer(200, "leading") if made.leading else Answer(503, "no primary is proven")
        return Answer(404, "ask /metrics or /healthz")

    async with contextlib.AsyncExitStack() as stack:
        if plan.metrics is not None:
            host, port = plan.metrics
            await stack.enter_async_context(
                answering(host, port, answer, who="the proxy", option="--metrics")
            )
        await run(made, on_listening=lambda ports: _tell(ports, as_json=as_json))


def _tell(ports: dict[Role, list[Address]], *, as_json: bool) -> None:
    listening = {role: [str(each) for each in where] for role, where in ports.items()}
    if as_json:
        output.write_json_line({"listening": listening})
        return
    for role, where in listening.items():
        output.note(f"listening on {', '.join(where)}, which leads to the {role}", style="")


def _address(text: str, port: int) -> Address:
    try:
        return Address.parse(text, default_port=port)
    except InvalidInputError as error:
        raise typer.BadParameter(error.message) from None
