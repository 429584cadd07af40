"""Where each command is, and what it says of itself in one sentence.

What one needs takes longer to import than most take to run, so none waits for what another needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple


class Command(NamedTuple):
    """One of the command line.

    Attributes:
        module: in this package.
        name: of the function there, or of the `typer.Typer`.
        summary: the first sentence of its help.
        failed: the exit code of an error that was told; 2 where 1 stands for something that was
            done.
        misused: that of a command line that cannot be meant; of a plugin of monitors 3, for 2 is
            an outage to them.
    """

    module: str
    name: str
    summary: str
    failed: int = 1
    misused: int = 2


COMMANDS: Final[Mapping[str, Command]] = {
    "up": Command(
        "up",
        "up",
        "Run Redis and gateways on this machine until Ctrl-C, which ends all of it.",
    ),
    "down": Command(
        "up",
        "down",
        "End what an `up` in the directory runs, or what a crashed one has left. Data stays.",
    ),
    "serve": Command(
        "serve",
        "serve",
        "Run the gateway against the configured Redis, until SIGTERM or Ctrl-C.",
    ),
    "proxy": Command(
        "proxy",
        "proxy",
        "Lead programs that cannot follow Sentinels, or a name, to the current primary.",
    ),
    "health": Command(
        "health",
        "health",
        "Check the configured Redis, its replicas and its Sentinels: one line, then details.",
        misused=3,
    ),
    "doctor": Command(
        "doctor",
        "doctor",
        "Ask every Sentinel, server and node, and say what is wrong, what follows, and what "
        "mends it.",
    ),
    "failover": Command(
        "failover",
        "failover",
        "Hand over to a replica, with writes held for about a second and nothing lost.",
    ),
    "drill": Command(
        "drill",
        "drill",
        "Make a fault while this library and plain redis-py write numbers, and count what is lost.",
        failed=2,
    ),
    "bench": Command(
        "bench",
        "bench",
        "Check rate limits against the configured Redis as fast as it answers, and say how fast.",
    ),
    "label-keeper": Command(
        "label_keeper",
        "label_keeper",
        "Label the pod of the primary `role=master` and all others `role=replica`, until SIGTERM.",
    ),
    "status": Command(
        "status",
        "status",
        "Show the servers as a tree, the Sentinels, and the instances of this library.",
    ),
    "audit": Command(
        "audit",
        "audit",
        "Show what was done by hand, by whom and why, the newest first: from every face and "
        "instance.",
    ),
    "manifests": Command(
        "manifests",
        "manifests",
        "Write what stands such a Redis up, for your sizes and settings.",
    ),
    "settings": Command(
        "settings",
        "settings",
        "Show every setting that is in effect and where it came from, secrets masked.",
    ),
    "lab": Command(
        "lab",
        "app",
        "Real Redis servers and Sentinels on this machine, and what can be done to them.",
    ),
    "migrate": Command(
        "migrate",
        "app",
        "Move what a single Redis holds to Sentinel, a Redis Cluster or a managed service.",
        failed=2,
    ),
    "tokens": Command("tokens", "app", "Look at revoked tokens, and revoke them by hand."),
    "limits": Command(
        "limits",
        "app",
        "Look at rate limits; reset a subject's, set it, or reserve.",
    ),
    "sessions": Command("sessions", "app", "Look at sessions, and end them by hand."),
    "circuits": Command("circuits", "app", "Look at circuits, and force them by hand."),
}
