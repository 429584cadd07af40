"""`aragora-redis up` and `down`."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ..lab import Kind, State
from ..lab.config import HOST, MASTER_NAME
from ..ops.changes import Change, NodeChanged, PoliciesChanged, PrimaryChanged
from ..ops.down import end_leftovers
from ..ops.up import GatewayEnded, Up, UpMode, UpReport, Wish, token_files
from . import output
from .options import LAB, AsJson, Directory
from .recipes import curls, in_lab, own_command, quoted
from .serve import demand_gateway

_BECAME = {State.RUNNING: "runs again", State.FROZEN: "stands still", State.DEAD: "ended"}
_KINDS = {NodeChanged: "server", PrimaryChanged: "primary", PoliciesChanged: "policies"}
_STYLES = {State.RUNNING: "green", State.FROZEN: "cyan", State.DEAD: "yellow"}


def up(
    *,
    mode: Annotated[
        UpMode | None,
        typer.Option(
            help="sentinel: a primary, two replicas and three Sentinels. cluster: slots on three "
            "primaries, each with a replica. managed: two nodes behind a name, over TLS, as cloud "
            "providers run them. standalone: one Redis. embedded: no Redis, the state "
            "ends with the gateway.",
            show_default="that of the lab, else sentinel",
        ),
    ] = None,
    port: Annotated[
        int, typer.Option(min=1, max=65535, envvar="ARAGORA_PORT", help="The first gateway's port.")
    ] = 8080,
    gateways: Annotated[
        int, typer.Option(min=1, max=64, help="How many gateways, on this port and the next ones.")
    ] = 1,
    host: Annotated[
        str, typer.Option(envvar="ARAGORA_HOST", help="Where the gateways listen.")
    ] = "127.0.0.1",
    directory: Directory = LAB,
    as_json: AsJson = False,
) -> None:
    """Run Redis and gateways on this machine until Ctrl-C, which ends all of it.

    The servers end with it, even if it is killed (SIGKILL); those of `lab start` stay. Data and
    secrets stay in the directory, and the next `up` goes on with them. Redis takes the usual ports
    (6379, 26379, ...) if all of them are free, and others if not.
    """
    if port + gateways - 1 > 65535:
        raise typer.BadParameter(f"there are no {gateways} ports from {port} on")
    if mode is UpMode.EMBEDDED and gateways > 1:
        raise typer.BadParameter("embedded gateways would not know of each other: run one")
    demand_gateway()
    wish = Wish(
        directory=directory,
        mode=mode,
        host=host.strip("[]"),
        ports=tuple(range(port, port + gateways)),
    )
    raise typer.Exit(_run(Up.prepare(wish, os.environ), as_json=as_json))


def down(*, directory: Directory = LAB, as_json: AsJson = False) -> None:
    """End what an `up` in the directory runs, or what a crashed one has left. Data stays."""
    ended = end_leftovers(directory)
    if as_json:
        output.write_json({"ended": ended})
    else:
        output.write(f"ended: {', '.join(ended)}" if ended else "nothing runs")


def _run(it: Up, *, as_json: bool) -> int:
    with _interrupted_by_signals():
        try:
            _tell_ended(_serve(it, as_json=as_json), as_json=as_json)
        except KeyboardInterrupt:
            output.note("ending; once more to end at once")
            return 0
        finally:
            _end(it)
    return 1


def _end(it: Up) -> None:
    try:
        it.close()
    except KeyboardInterrupt:
        it.kill()
        raise typer.Exit(130) from None


@contextmanager
def _interrupted_by_signals() -> Iterator[None]:
    """Let SIGTERM, and SIGHUP unless `nohup` ignores it, do what Ctrl-C does."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    numbers = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _serve(it: Up, *, as_json: bool) -> GatewayEnded:
    if it.ignored:
        output.note(
            f"ignored, because the lab has its own: {', '.join(it.ignored)}", style="yellow"
        )
    if it.mode is not UpMode.EMBEDDED:
        output.note(f"starting Redis ({it.mode}) ...")
    it.start_servers()
    if it.mode is UpMode.EMBEDDED:
        output.note("starting the gateway ...")
    else:
        output.note(
            "starting the gateway: it is ready about 6 s after Redis, when every instance has had "
            "the time to bring the revocations that it knows ..."
        )
    it.start_gateways()
    it.await_ready()
    report = it.report()
    if as_json:
        output.write_json_line({"event": "ready", **report.as_dict()})
    else:
        _write_report(report)
    return it.watch(lambda change: _tell_change(change, report, as_json=as_json))


def _write_report(report: UpReport) -> None:
    gateways = ", ".join(report.gateways)
    shown = {"Gateway" if len(report.gateways) == 1 else "Gateways": gateways}
    if report.servers:
        shown["Redis"] = _listening(report, Kind.REDIS)
    else:
        shown["Redis"] = "none: the state ends with the gateway"
    if report.mode is UpMode.MANAGED:
        shown["Redis"] = f"{report.endpoint}, which leads to {report.primary} now"
    if report.mode is UpMode.SENTINEL:
        shown["Sentinels"] = f"{_listening(report, Kind.SENTINEL)}; they call it {MASTER_NAME}"
    admin_file = token_files(report.directory)[1]
    shown["Dashboard"] = f"{report.gateways[0]}/dashboard; log in with the token in {admin_file}"
    shown["Secrets, data, logs"] = str(report.directory)
    output.write()
    for name, text in shown.items():
        output.write(f"{name:<20} {text}")
    _write_tokens(report)
    command = own_command(sys.argv[0], shutil.which(Path(sys.argv[0]).name), sys.executable)
    policy = next(iter(report.policies), None)
    output.write()
    output.write(f"Check a limit, revoke a token and ask about it, in {Path.cwd()}:", style="bold")
    for line in curls(report.gateways[0], report.directory, policy):
        output.write(line)
    if report.servers:
        output.write()
        output.write("Kill the primary, see how the rest is, and bring it back:", style="bold")
        output.write(in_lab(f"{command} lab kill primary", report.directory))
        output.write(f"{command} health --lab {quoted(report.directory)}")
        output.write(in_lab(f"{command} lab start --all", report.directory))
        if report.mode is UpMode.MANAGED:
            output.write()
            output.write("Have the other node promoted, as a maintenance does:", style="bold")
            output.write(in_lab(f"{command} lab switch", report.directory))
    output.write()
    output.write("Ctrl-C ends all of it.", style="dim")


def _listening(report: UpReport, kind: Kind) -> str:
    # A cluster has several primaries; the one that is meant is that of the first slot.
    leads = "slot 0 on " if report.mode is UpMode.CLUSTER else "primary "
    return ", ".join(
        f"{HOST}:{port} ({leads if name == report.primary else ''}{name})"
        for name, port in report.servers.items()
        if name.startswith(kind.value)
    )


def _write_tokens(report: UpReport) -> None:
    gateway, admin = token_files(report.directory)
    if report.fresh is None:
        output.write(f"{'Tokens':<20} in {gateway} (services) and {admin} (operators)")
        return
    output.write()
    output.write("Bearer tokens, made just now and shown this once:", style="bold")
    output.write(f"{report.fresh.gateway_token}  for services, in {gateway}")
    output.write(f"{report.fresh.admin_token}  for operators, in {admin}")


def _tell_change(change: Change, report: UpReport, *, as_json: bool) -> None:
    if as_json:
        output.write_json_line({"event": _KINDS[type(change)], **asdict(change)})
        return
    match change:
        case PoliciesChanged(None):
            output.write("the policies file can be used again", style="green")
        case PoliciesChanged(str(refusal)):
            output.error(f"the policies file is not used, the old one holds: {refusal}")
        case PrimaryChanged(name, was) if report.mode is UpMode.CLUSTER:
            output.write(f"{name} has slot 0 now, {was} had it", style="bold green")
        case PrimaryChanged(name, was) if report.mode is UpMode.MANAGED:
            output.write(f"the name leads to {name} now, it led to {was}", style="bold green")
        case PrimaryChanged(name, was):
            output.write(f"{name} is the primary now, it was {was}", style="bold green")
        case NodeChanged(name, state):
            port = report.servers[name]
            where = f" (port {port})" if port else ""
            output.write(f"{name}{where} {_BECAME[state]}", style=_STYLES[state])


def _tell_ended(ended: GatewayEnded, *, as_json: bool) -> None:
    if as_json:
        output.write_json_line(
            {"event": "gateway-ended", "port": ended.port, "code": ended.code}
            | {"log": str(ended.log_path), "log_tail": ended.log_tail}
        )
    how = f"by {signal.Signals(-ended.code).name}" if ended.code < 0 else f"with {ended.code}"
    output.error(
        f"the gateway on port {ended.port} ended {how}; {ended.log_path} ends with:\n"
        f"{ended.log_tail}"
    )
