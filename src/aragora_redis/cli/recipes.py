"""Lines that a reader pastes into a shell. Pure.

They hold in sh, bash, zsh and fish: no arithmetic of one shell, and each path quoted.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from .options import LAB


def own_command(argv0: str, on_path: str | None, python: str) -> str:
    """How to run this program again, from the same directory.

    Args:
        argv0: how it was called.
        on_path: what its bare name leads to, if anything.
        python: the interpreter.
    """
    called = Path(argv0)
    if called.name == "__main__.py":
        return f"{shlex.quote(python)} -m aragora_redis"
    # Whoever called it by a relative path need not have it on the PATH: make adds to its own.
    if called.is_absolute() and on_path and Path(on_path) == called:
        return called.name
    return shlex.quote(argv0)


def in_lab(command: str, directory: Path) -> str:
    """A command of the lab in a directory, as short as it can be."""
    return command if directory == LAB else f"{command} --lab {quoted(directory)}"


def curls(url: str, directory: Path, policy: str | None) -> Iterator[str]:
    """Check a limit, revoke a token, ask about it.

    Args:
        url: of a gateway.
        directory: of the lab, whose tokens are used.
        policy: the limit, if there is any.
    """
    if policy is not None:
        limit = """'{"subject":"ip:203.0.113.9"}'"""
        yield _curl(f"{url}/v1/limits/{policy}/check", directory / "gateway-token", limit)
    revocation = """'{"jti":"demo","expires_at":'$(expr $(date +%s) + 3600)'}'"""
    yield _curl(f"{url}/v1/tokens/revoke", directory / "admin-token", revocation)
    question = """'{"jti":"demo"}'"""
    yield _curl(f"{url}/v1/tokens/check", directory / "gateway-token", question)


def _curl(url: str, token: Path, body: str) -> str:
    return (
        f'curl -sS -w "\\n" -H "Authorization: Bearer $(cat {quoted(token)})" '
        f"-H 'Content-Type: application/json' -d {body} {url}"
    )


def quoted(path: Path) -> str:
    """A path as one word of a command."""
    # A name that begins with a dash would be an option.
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)
