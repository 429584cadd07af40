"""What a server offers of what this library uses, and what the lack of it costs. Pure.

Sources: the lists of commands that ElastiCache, Memorystore, and Redis Software (on which Azure
Managed Redis runs) restrict. Redis Software, for one, has no ROLE, and no INFO for scripts.
"""

from __future__ import annotations

from msgspec import Struct

ROLE = ("ROLE",)
INFO = ("INFO", "replication")
PING = ("PING",)


class Offers(Struct, frozen=True):
    """What one server was found to offer.

    Attributes:
        question: the command that tells its role best; PING tells nothing.
        across_slots: whether a call may have keys of several hash slots.
        replication_id: whether scripts can tell one history of the data from another.
        publishes: whether scripts may publish.
        subscribes: whether published messages can be had.
        fsyncs: whether it tells what is on disk (WAITAOF of Redis 7.2, with an append-only file).
    """

    question: tuple[str, ...] = ROLE
    across_slots: bool = True
    replication_id: bool = True
    publishes: bool = True
    subscribes: bool = True
    fsyncs: bool = False

    @property
    def lacks(self) -> tuple[str, ...]:
        """What is missing, and what it costs, each as one sentence."""
        found = []
        if self.question == PING:
            found.append(
                "neither ROLE nor INFO can be asked: a former primary is known by its refusals only"
            )
        if not self.replication_id:
            found.append(
                "no replication id is told: revocations that a failover lost are found by comparing"
                " after each connection and every minute, not at once"
            )
        if not (self.publishes and self.subscribes):
            found.append(
                "nothing can be published: revocations and circuits of other instances are learned"
                " within a second, refusals are forgotten late after a reset"
            )
        return tuple(found)


def question_of(*, role: bool, info: bool) -> tuple[str, ...]:
    """What to ask for the role, by which of the commands are offered."""
    return ROLE if role else INFO if info else PING
