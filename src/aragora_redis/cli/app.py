"""All commands, and what becomes of errors."""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence
from importlib.metadata import version as installed_version
from typing import Annotated, NoReturn

import typer

from ..errors import AragoraRedisError
from . import (
    audit,
    bench,
    circuits,
    doctor,
    drill,
    failover,
    health,
    lab,
    label_keeper,
    limits,
    manifests,
    migrate,
    output,
    proxy,
    run_aragora,
    serve,
    sessions,
    settings,
    status,
    tokens,
    up,
)
from .options import AsJson

app = typer.Typer(
    name="aragora-redis",
    help="Shared state in Redis that keeps its word through a failover.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    # A traceback with the values of variables would show passwords.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("up")(up.up)
app.command("down")(up.down)
app.command("serve")(serve.serve)
app.command("proxy")(proxy.proxy)
app.add_typer(lab.app, name="lab")
app.command("health")(health.health)
app.command("doctor")(doctor.doctor)
app.command("failover")(failover.failover)
app.command("drill")(drill.drill)
app.command("bench")(bench.bench)
app.add_typer(migrate.app, name="migrate")
app.command("label-keeper")(label_keeper.label_keeper)
app.command("status")(status.status)
app.add_typer(tokens.app, name="tokens")
app.add_typer(limits.app, name="limits")
app.add_typer(sessions.app, name="sessions")
app.add_typer(circuits.app, name="circuits")
app.command("audit")(audit.audit)
app.command("manifests")(manifests.manifests)
app.command("settings")(settings.settings)


@app.command()
def version(*, as_json: AsJson = False) -> None:
    """Print the version."""
    number = installed_version("aragora-redis")
    if as_json:
        output.write_json({"version": number})
    else:
        output.write(number)


@app.command(
    run_aragora.NAME,
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def _run_aragora(context: typer.Context) -> None:
    """Run the Aragora server with its shared state in the configured Redis."""
    raise typer.Exit(run_aragora.main(context.args))


def _print_version(*, wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


@app.callback()
def _root(
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Shared state in Redis that keeps its word through a failover."""


def run(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command, by default that of the process's arguments, and exit with its code.

    1 is an error that was told, 2 a command line that cannot be meant.
    """
    try:
        app(arguments, prog_name="aragora-redis")
    except AragoraRedisError as error:
        output.error(str(error))
    except OSError as error:
        if error.filename is None and error.errno != errno.ENOSPC:
            raise
        what = error.filename or "what was found or done cannot be told"
        output.error(f"{what}: {error.strerror}")
    sys.exit(1)
