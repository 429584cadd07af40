"""Which labels to write, in which order. Pure.

At no moment may two pods be `role=master` through our doing: whoever connects to the Service then
would write to a server that is no primary half of the time. So the label is taken off every other
pod before it is put on the primary's, and a write that was sent and never answered counts as one
that may still come. Each write holds for one version of a pod alone (`resourceVersion` in the
patch; Kubernetes answers 409 for another), so the pod is changed first, and the late write fails.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ...address import Address

MASTER, REPLICA = "master", "replica"


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod that may hold the primary."""

    name: str
    version: str
    """Its `resourceVersion`, which every change of it changes."""
    role: str | None = None
    """Its label `role`."""
    ips: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Patch:
    """Give one pod another label `role`, or none, if it is still at this version."""

    pod: str
    version: str
    role: str | None

    def __str__(self) -> str:
        return f"role={self.role} on {self.pod}" if self.role else f"no role on {self.pod}"


@dataclass(frozen=True, slots=True)
class Decision:
    """What to write, one after the other, each only if the one before was done."""

    primary: str | None
    """The pod of the primary; None where that is not exactly one of the pods."""
    patches: tuple[Patch, ...]


def decide(pods: Iterable[Pod], primary: Address, unanswered: Mapping[str, str]) -> Decision:
    """Which labels to write, when it is certain who is primary.

    Args:
        pods: all that may hold it, as they are now.
        primary: who has proved to be it.
        unanswered: versions of pods at which `role=master` was sent and never answered, by name.
    """
    pods = sorted(pods, key=lambda pod: pod.name)
    chosen = _pod_of(pods, primary)
    others = [pod for pod in pods if pod is not chosen]
    off = [pod for pod in others if pod.role == MASTER or unanswered.get(pod.name) == pod.version]
    patches = [Patch(pod.name, pod.version, _off(pod)) for pod in off]
    if chosen is None:
        return Decision(None, tuple(patches))
    if chosen.role != MASTER:
        patches.append(Patch(chosen.name, chosen.version, MASTER))
    patches += [
        Patch(pod.name, pod.version, REPLICA)
        for pod in others
        if pod not in off and pod.role != REPLICA
    ]
    return Decision(chosen.name, tuple(patches))


def _off(pod: Pod) -> str | None:
    """Anything but `master` and what is there: only a change makes another version."""
    return None if pod.role == REPLICA else REPLICA


def _pod_of(pods: Iterable[Pod], primary: Address) -> Pod | None:
    host = _normal(primary.host)
    if host is None:
        name = primary.host.partition(".")[0]
        found = [pod for pod in pods if pod.name == name]
    else:
        found = [pod for pod in pods if host in map(_normal, pod.ips)]
    return found[0] if len(found) == 1 else None


def _normal(host: str) -> str | None:
    """An IP in its one spelling; None for a name."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return None
