"""What the words mean by which nodes, and the sides of a cut, are named. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from ..errors import LabError
from . import network
from .cuts import Cut
from .node import Kind


def resolve(target: str, names: Sequence[str], primary: str) -> str:
    """The name that a target means; see `Lab`.

    Raises:
        LabError: it means none.
    """
    others = [name for name in names if name.startswith(f"{Kind.REDIS}-") and name != primary]
    meanings = {
        "primary": primary,
        **{f"replica-{number}": name for number, name in enumerate(others)},
        **{name: name for name in names},
    }
    if target not in meanings:
        raise LabError(
            f"there is no node {target!r} in this lab",
            remedy=f"the targets are all, {', '.join(meanings)}",
        )
    return meanings[target]


def cut_between(
    one: str,
    other: str,
    *,
    one_way: bool,
    addresses: str,
    hosts: Mapping[str, str],
    names_of: Callable[[str], Iterable[str]],
) -> Cut:
    """The cut between two sides; see `Lab.cut`.

    Args:
        one: one side.
        other: the other side.
        one_way: whether only what `one` sends is dropped.
        addresses: the lab's network.
        hosts: the address of each node.
        names_of: the nodes that a target means.

    Raises:
        LabError: they are no two sides.
    """
    clients = frozenset(network.clients(addresses))
    everybody = clients | set(hosts.values())

    def meant(side: str) -> dict[str, frozenset[str]]:
        """The addresses of a side, by name."""
        found: dict[str, frozenset[str]] = {}
        for target in side.split(","):
            if target == "rest" == side:
                found[target] = frozenset()
            elif target == "clients":
                found[target] = clients
            elif target in everybody:
                found[target] = frozenset({target})
            else:
                found |= {name: frozenset({hosts[name]}) for name in names_of(target)}
        return found

    first, second = meant(one), meant(other)
    near = _union(first)
    far = everybody - near if other == "rest" else _union(second)
    if not near or not far or near & far:
        raise LabError(
            f"{one} and {other} are not two sides", remedy="name each address on one of them"
        )
    said = f"{','.join(first)} {'->' if one_way else '|'} {','.join(second)}"
    return Cut(said, tuple(sorted(near)), tuple(sorted(far)), one_way)


def _union(side: Mapping[str, frozenset[str]]) -> frozenset[str]:
    return frozenset().union(*side.values())
