"""A cluster of three primaries and three replicas, as its nodes would tell of it."""

from __future__ import annotations

from typing import Any

from aragora_redis.address import Address
from aragora_redis.ops.access import Failure, Fault
from aragora_redis.ops.cluster_view import ClusterWord, view_of
from aragora_redis.ops.survey import NodeSurvey, Survey
from aragora_redis.topology.nodes import read_nodes

A, B, C, X, Y, Z = (Address("10.0.0.1", 7000 + number) for number in range(6))
"""Three primaries, then the replica of each."""
NAMES = dict(zip((A, B, C, X, Y, Z), "abcxyz", strict=True))
SLOTS = {A: "0-5460", B: "5461-10922", C: "10923-16383"}
FOLLOWS = {X: A, Y: B, Z: C}
DOWN = Failure(Fault.UNREACHABLE, "refuses connections")


def row(at, *, slots=None, epoch=None, down="", motions=(), primary=None):
    """One line of CLUSTER NODES; `primary` is the id of another one, or `-`."""
    source = FOLLOWS.get(at)
    role = "slave" if source else "master"
    epoch = [A, B, C].index(source or at) + 1 if epoch is None else epoch
    held = SLOTS.get(at, "") if slots is None else slots
    flags = f"{role},{down}" if down else role
    primary = primary or (NAMES[source] if source else "-")
    words = [NAMES[at], f"{at}@17000", flags, primary, "0", "0"]
    return " ".join([*words, str(epoch), "connected", *held.split(), *motions])


def word(at, *, state="ok", rows=None, epoch=3, own_epoch=None, **own):
    """What a node says; `rows` replaces lines of others, None leaves one out."""
    rows = {other: row(other) for other in NAMES} | (rows or {})
    rows[at] = row(at, epoch=own_epoch, **own)
    words = rows[at].split(" ", 3)
    words[2] = f"myself,{words[2]}"
    lines = [" ".join(words) if other == at else line for other, line in rows.items() if line]
    statement = read_nodes("\n".join(lines), asked=at, asked_at=0.0, by_name=False)
    return ClusterWord(statement, state, epoch)


def node(at, *, said=None, info=None, config=None, **others):
    """A healthy node, with changes."""
    source = FOLLOWS.get(at)
    told: dict[str, Any] = {
        "used_memory": 10,
        "maxmemory": 100,
        "connected_clients": 2,
        "cluster_enabled": 1,
    }
    if source is None:
        replicas = (replica for replica, primary in FOLLOWS.items() if primary == at)
        for number, replica in enumerate(replicas):
            told[f"slave{number}"] = {
                "ip": replica.host,
                "port": replica.port,
                "state": "online",
                "offset": 7,
                "lag": 0,
            }
    else:
        told["master_link_status"] = "up"
    return NodeSurvey(
        role="slave" if source else "master",
        source=source,
        info=told | (info or {}),
        config=config or {},
        word=said or word(at),
        **others,
    )


def survey(changes=None):
    """What all say; `changes` replaces nodes."""
    nodes = {at: node(at) for at in NAMES} | (changes or {})
    words = {at: n.word for at, n in nodes.items() if isinstance(n, NodeSurvey) and n.word}
    return Survey(master_name=None, sentinels={}, nodes=nodes, now=0.0, cluster=view_of(words))


def all_saying(rows, **states):
    """Nodes all of which say the same of some others."""
    return {at: node(at, said=word(at, rows=rows, **states)) for at in NAMES}
