"""Have a server prove that it is a primary, over a connection of its own."""

from __future__ import annotations

from ..address import Address
from ..errors import AragoraRedisError
from ..topology.statement import role_fault
from .connection import Login, connect

CONNECT_LIMIT = 1.0
ASK_LIMIT = 0.5
"""Seconds for the answer to ROLE."""


async def primary_fault(address: Address, login: Login) -> str | None:
    """Why a server does not prove now to be a primary; None where it does."""
    try:
        return await told_fault(address, login)
    except AragoraRedisError as error:
        return str(error)


async def told_fault(address: Address, login: Login) -> str | None:
    """Why a server is no primary by its own word; None where it says that it is one.

    Raises:
        AragoraRedisError: it does not say.
    """
    pipe = await connect(address, login, timeout=CONNECT_LIMIT, on_push=lambda _push: None)
    try:
        return role_fault(await pipe.request("ROLE", timeout=ASK_LIMIT), guarded=False)
    finally:
        pipe.close("proved")
