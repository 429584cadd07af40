"""Who replicates the primaries of a side, as these tell it."""

from __future__ import annotations

from ...address import Address
from .calls import CopyError, named, pipelined, told
from .sites import Clients


async def replicas_of(clients: Clients, *, seconds: float = 10.0) -> list[Address]:
    """The replicas of all primaries.

    Raises:
        CopyError: a server does not answer, or does not say.
    """
    found = []
    for address, client in clients.by_address.items():
        who = named(clients.site.name, address)
        (said,) = await pipelined(who, client, [("INFO", "replication")], seconds)
        if isinstance(said, Exception):
            raise CopyError(f"{who} does not say who replicates it: {told(said)}")
        rows = [said.get(f"slave{number}") for number in range(said.get("connected_slaves", 0))]
        found += [Address(str(row["ip"]), int(row["port"])) for row in rows if row]
    return found
