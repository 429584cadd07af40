"""What this user may do here; tests that need more skip, and say why."""

from __future__ import annotations

import os
import subprocess

import pytest

from aragora_redis.errors import LabError
from aragora_redis.lab import server
from aragora_redis.lab.cuts import Cut, ruleset, run_ruleset

_TABLE = "aragora_lab_trial"


def why_no_cuts() -> str | None:
    """Why packets cannot be dropped here, or None."""
    try:
        run_ruleset(ruleset(_TABLE, [Cut("trial", ("127.64.0.1",), ("127.64.0.2",))]))
        run_ruleset(ruleset(_TABLE, []))
    except LabError as error:
        return error.message
    return None


def why_no_mounts() -> str | None:
    """Why a process cannot have mounts of its own here, or None."""
    trial = ["unshare", "--mount", "mount", "--bind", "/etc/hosts", "/etc/hosts"]
    try:
        tried = subprocess.run(trial, capture_output=True, text=True, timeout=10, check=False)
    except OSError as error:
        return str(error)
    return tried.stderr.strip() if tried.returncode else None


def is_old() -> bool:
    """Whether the server is of 6.2."""
    return _version() < (7, 0, 0)


def is_newer_than_pods() -> bool:
    """Whether the server writes copies that the Redis 7 of the pods cannot read."""
    return _version() >= (8, 0, 0)


def _version() -> tuple[int, ...]:
    try:
        return server.find_server().version
    except LabError:  # the tests that want one will tell
        return (7, 0, 0)


def speaks_tls() -> bool:
    """Whether the server was built with TLS."""
    try:
        return server.find_server().speaks_tls()
    except LabError:  # the tests that want one will tell
        return True


_WHY_NO_CUTS = why_no_cuts()
_WHY_NO_MOUNTS = why_no_mounts()
_MUST = os.environ.get("CI") == "true" and os.geteuid() == 0
needs_cuts = pytest.mark.skipif(
    _WHY_NO_CUTS is not None and not _MUST, reason=f"no cuts here: {_WHY_NO_CUTS}"
)
"""Marks tests that drop packets. Root in CI never skips them: there the rights are."""
needs_mounts = pytest.mark.skipif(
    _WHY_NO_MOUNTS is not None and not _MUST, reason=f"no mounts here: {_WHY_NO_MOUNTS}"
)
"""Marks tests whose processes see a hosts file of their own."""
needs_tls = pytest.mark.skipif(not speaks_tls(), reason="this redis-server was built without TLS")
needs_redis_7 = pytest.mark.skipif(is_old(), reason="Redis 6.2 cannot do that")
"""Marks tests of what Redis can since 7.0."""
needs_readable_copies = pytest.mark.skipif(
    is_newer_than_pods(), reason="the pods run Redis 7, which reads no copies of this server"
)
"""Marks tests in which pods take over what a server of a lab holds."""
