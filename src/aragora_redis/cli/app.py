"""All commands, and what becomes of errors."""

from __future__ import annotations

import errno
import sys
from collections.abc import Collection, Sequence
from importlib import import_module
from importlib.metadata import version as installed_version
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from ..errors import AragoraRedisError
from . import output
from .commands import COMMANDS
from .options import AsJson


def command_line(used: Collection[str] = COMMANDS) -> typer.Typer:
    """All commands. Those that are not used say what they are for, and cannot be run."""
    made = typer.Typer(
        name="aragora-redis",
        help="Shared state in Redis that keeps its word through a failover.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="markdown",
        # A traceback with the values of variables would show passwords.
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    made.callback()(_root)
    for name, command in COMMANDS.items():
        if name not in used:
            made.command(name, help=command.summary)(_unused)
            continue
        found = getattr(import_module(f".{command.module}", __package__), command.name)
        if isinstance(found, typer.Typer):
            made.add_typer(found, name=name)
        else:
            made.command(name)(found)
    made.command()(version)
    made.command(
        "run-aragora",
        add_help_option=False,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )(_run_aragora)
    return made


def _unused() -> None:
    raise AssertionError("another command was run than was named")


def version(*, as_json: AsJson = False) -> None:
    """Print the version."""
    number = installed_version("aragora-redis")
    if as_json:
        output.write_json({"version": number})
    else:
        output.write(number)


def _run_aragora(context: typer.Context) -> None:
    """Run the Aragora server with its shared state in the configured Redis."""
    from .run_aragora import main  # noqa: PLC0415 - as `COMMANDS`

    raise typer.Exit(main(context.args))


def _print_version(*, wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


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

    1 is an error that was told, and 2 a command line that cannot be meant, unless the command has
    another code for them. What was found or done and cannot be told is an error too.
    """
    given = sys.argv[1:] if arguments is None else arguments
    named = next((word for word in given if not word.startswith("-")), "")
    try:
        command_line({named})(given, prog_name="aragora-redis")
    except AragoraRedisError as error:
        output.error(str(error))
    except OSError as error:
        if error.filename is None and error.errno not in {errno.ENOSPC, errno.EIO}:
            raise
        what = error.filename or "what was found or done cannot be told"
        output.error(f"{what}: {error.strerror}")
    except SystemExit as end:
        if isinstance(end.__context__, TyperException) and named in COMMANDS:
            sys.exit(COMMANDS[named].misused)
        # A pipe that nobody reads any more. Typer says 1, and nothing, of whatever command.
        if not isinstance(end.__context__, BrokenPipeError):
            raise
    finally:
        output.drop_untold()
    sys.exit(COMMANDS[named].failed if named in COMMANDS else 1)
