"""Have a server that was left, or that is copied to, take nobody's writes, and let it again.

Best is to take the right to write from all its users: scripts are refused as well, and RESTORE is
left to us, so that everything can be copied there while all others are still refused. Where ACL is
forbidden, more replicas are asked for than there are, which refuses us too. Both refuse a write
instead of acknowledging what would be lost.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, MutableMapping
from enum import StrEnum
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from ...address import Address
from .calls import CopyError, answered, as_map, named, told
from .sites import Clients, Site, opened

_REPLICAS, _LAG = "min-replicas-to-write", "min-replicas-max-lag"
_NEVER = "100"
"""More replicas than anybody has."""

_TRACE = "aragora-migrate-holds-writes"
"""A user who may nothing. Rights that were taken do not show it: a server puts rules into other
words, and without a journal they would be taken for what was there before."""

Kept = MutableMapping[str, Any]
"""What was changed where and what it was before, as JSON.

`{address: {"of": site, "users": {name: [rules, ours]}}}`, or with `"settings": {name: value}`.
Rules are of commands, without passwords.
"""


class Guard(StrEnum):
    """What keeps writes from a server that was left."""

    ACL = "acl"
    """No user may write; RESTORE, also of functions, is left to ours."""
    REPLICAS = "min-replicas"
    """More replicas are asked for than there are; also our own writes are refused."""
    NONE = "none"
    """Nothing: what is written there from now on is lost, so writers have to be moved first."""


async def raise_guard(
    clients: Clients,
    kept: Kept,
    remember: Callable[[], None],
    *,
    seconds: float = 10.0,
    admitting: bool = False,
) -> Guard:
    """Have all primaries of a site refuse writes; returns the weakest of what holds there.

    Args:
        clients: of the site.
        kept: gets what was before.
        remember: called when `kept` has changed, before the server is.
        seconds: that each call has.
        admitting: only what lets our own writes through.

    Raises:
        CopyError: a server does not answer.
    """
    order = list(Guard)
    weakest = Guard.ACL
    for address, client in clients.by_address.items():
        one = _One(clients.site.name, address, client, seconds)
        held = await one.hold(kept, remember, admitting=admitting)
        weakest = max(weakest, held, key=order.index)
    return weakest


def admits_us(site: Site, kept: Kept) -> bool:
    """Whether what keeps writes from a site lets ours through, so that it can be written."""
    return not any("settings" in kept.get(str(at), {}) for at in site.primaries)


async def unguarded(clients: Clients, kept: Kept) -> list[str]:
    """Which primaries of a site may have taken writes: what we raised there does not stand.

    A restart ends it, and who took over by a failover never had it.

    Raises:
        CopyError: a server does not answer.
    """
    found = []
    for address, client in clients.by_address.items():
        one = _One(clients.site.name, address, client, 10.0)
        if not await one.holds(kept):
            found.append(named(clients.site.name, address))
    return found


async def lift_guard(
    site: Site, kept: Kept, remember: Callable[[], None], *, seconds: float = 10.0
) -> None:
    """Let a site take writes again as before; what somebody has changed since stays.

    Raises:
        CopyError: a server does not answer or refuses.
    """
    async with opened(site) as clients:
        for address, client in clients.by_address.items():
            one = _One(site.name, address, client, seconds)
            await one.let_go(kept)
            remember()


class _One:
    def __init__(self, site: str, address: Address, client: Redis, seconds: float) -> None:
        self._site = site
        self._who = named(site, address)
        self._at = str(address)
        self._client = client
        self._seconds = seconds

    async def holds(self, kept: Kept) -> bool:
        """Whether what was done here stands, for all who may log in."""
        before: Mapping[str, Any] = kept.get(self._at, {})
        users: Mapping[str, list[str]] = before.get("users", {})
        try:
            if not users:
                return "settings" in before and (await self._settings())[_REPLICAS] == _NEVER
            _, now = await self._users()
            now.pop(_TRACE, None)
        except ResponseError:
            return False
        ours = {name: each[1] for name, each in users.items() if len(each) > 1}
        return all(name in ours and _same(rules, ours[name]) for name, (rules,) in now.items())

    async def hold(
        self, kept: Kept, remember: Callable[[], None], *, admitting: bool = False
    ) -> Guard:
        # What an interrupted cutover has left must not be taken for what was before.
        await self.let_go(kept)
        try:
            ours, users = await self._users()
            if users.pop(_TRACE, None) is not None:
                raise self._held_already()
            kept[self._at] = {"of": self._site, "users": users}
            remember()
            await self._ask("ACL", "SETUSER", _TRACE, "reset")
            for name, rules in users.items():
                left = ("+restore",) if name == ours else ()
                await self._ask("ACL", "SETUSER", name, "-@write", *left)
                if left:
                    with contextlib.suppress(ResponseError):  # FUNCTION is of 7.0
                        await self._ask("ACL", "SETUSER", name, "+function|restore")
                # The server puts what it was told into words of its own.
                rules.append(await self._rules(name))
        except ResponseError:
            await self.let_go(kept)
        else:
            remember()
            return Guard.ACL
        if admitting:
            remember()
            return Guard.NONE
        try:
            settings = await self._settings()
            if settings[_REPLICAS] == _NEVER:
                raise self._held_already()
            kept[self._at] = {"of": self._site, "settings": settings}
            remember()
            await self._ask("CONFIG", "SET", _LAG, "10")
            await self._ask("CONFIG", "SET", _REPLICAS, _NEVER)
        except ResponseError:
            await self.let_go(kept)
        else:
            return Guard.REPLICAS
        remember()
        return Guard.NONE

    async def let_go(self, kept: Kept) -> None:
        """Undo what was done here."""
        before: Mapping[str, Any] = kept.get(self._at, {})
        try:
            for name, (rules, *ours) in before.get("users", {}).items():
                if not ours or _same(await self._rules(name), ours[0]):
                    await self._ask("ACL", "SETUSER", name, "nocommands", *rules.split())
            if "users" in before:
                await self._ask("ACL", "DELUSER", _TRACE)
            settings: Mapping[str, str] = before.get("settings", {})
            if settings and (await self._settings())[_REPLICAS] == _NEVER:
                for setting, value in settings.items():
                    await self._ask("CONFIG", "SET", setting, value)
        except ResponseError as error:
            raise CopyError(
                f"{self._who} does not let writes through again: {told(error)}",
                remedy="log in as one who may ACL SETUSER and CONFIG SET, and repeat",
            ) from error
        kept.pop(self._at, None)

    def _held_already(self) -> CopyError:
        return CopyError(
            f"{self._who} refuses writes for an earlier migration, and what it was like before is "
            "not in this journal",
            remedy="go on with that migration's journal (--journal); where it is lost, give the "
            f"users their rights back with ACL SETUSER, ACL DELUSER {_TRACE}, set {_REPLICAS} as "
            "it was, and repeat",
        )

    async def _users(self) -> tuple[str, dict[str, list[str]]]:
        """Who we are, and what each may."""
        ours = str(await self._ask("ACL", "WHOAMI"), "utf-8")
        names = [str(each, "utf-8") for each in await self._ask("ACL", "USERS")]
        return ours, {name: [await self._rules(name)] for name in names}

    async def _rules(self, name: str) -> str:
        """Which commands a user may; none where there is no such user."""
        rules = as_map(await self._ask("ACL", "GETUSER", name) or {})
        if rules.get(b"selectors"):
            # They grant beside what is taken away here.
            raise ResponseError("a user has selectors")
        return str(rules.get(b"commands", b""), "utf-8")

    async def _settings(self) -> dict[str, str]:
        found = as_map(await self._ask("CONFIG", "GET", "min-replicas-*"))
        texts = {str(name, "ascii"): str(value, "ascii") for name, value in found.items()}
        return {name: texts[name] for name in (_LAG, _REPLICAS)}

    async def _ask(self, *words: str | bytes) -> Any:
        ask: Any = self._client.execute_command
        return await answered(self._who, ask(*words), self._seconds)


def _same(rules: str, others: str) -> bool:
    """Whether a server means the same: single commands it tells in an order of the moment."""
    return sorted(rules.split()) == sorted(others.split())
