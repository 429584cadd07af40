"""The process of a managed service's provider: look at both nodes, decide, act, again."""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from msgspec.structs import replace as replaced

from ...clock import SYSTEM_CLOCK
from .. import manifest
from ..admin import NotNow
from ..passwords import accepted, in_force
from ..service import APP, Premises
from ..topology import Site
from .decide import (
    Elect,
    Follow,
    HandOver,
    Point,
    Promote,
    Refuse,
    Rules,
    SetPasswords,
    Step,
    Succeed,
    Wishes,
    decide,
)
from .look import Answer, Known, read_answer
from .records import read_order, read_record, write_record

_PERIOD = 0.2
_ANSWER_SECONDS = 0.5
_HAND_OVER_MS = 5_000


class Provider:
    """Watches the nodes of a site, and does what `decide` says."""

    def __init__(self, site: Site, premises: Premises) -> None:
        self._directory = site.provider.directory
        self._premises = premises
        self._nodes = {node.name: node for node in site.data}
        self._clients = {
            node.name: replace(site.access(node), source=site.provider.address.host).client(
                node, timeout=min(_ANSWER_SECONDS, site.down_after_ms / 1000)
            )
            for node in site.data
        }
        self._known = {name: Known() for name in self._nodes}
        self._rules = Rules(site.down_after_ms / 1000, premises.service.name_delay_ms / 1000)
        self._record = replaced(read_record(self._directory), pid=os.getpid())
        write_record(self._directory, self._record)

    def run(self) -> None:
        """Until the process is ended."""
        with ThreadPoolExecutor(len(self._nodes)) as looks:
            while True:
                began = SYSTEM_CLOCK.monotonic()
                answers = looks.map(self._look, self._nodes)
                for name, answer in zip(self._nodes, list(answers), strict=True):
                    self._known[name] = self._known[name].after(answer, began)
                self._act()
                time.sleep(max(0.0, began + _PERIOD - SYSTEM_CLOCK.monotonic()))

    def _look(self, name: str) -> Answer | None:
        try:
            with self._clients[name].pipeline(transaction=False) as asked:
                asked.info()
                asked.acl_getuser(APP)
                info, user = asked.execute()
        except NotNow:
            return None
        hosts = {node.address.host: node.name for node in self._nodes.values()}
        return read_answer(info, user, hosts)

    def _act(self) -> None:
        leader = self._premises.leads_to(self._nodes.values())
        leads_to = None if leader is None else leader.name
        digests = in_force(accepted(self._premises), SYSTEM_CLOCK.wall())
        wishes = Wishes(read_order(self._directory), digests)
        now = SYSTEM_CLOCK.monotonic()
        for step in decide(self._record, self._known, leads_to, wishes, now=now, rules=self._rules):
            _log(str(step) if not isinstance(step, SetPasswords) else f"passwords of {step.node}")
            try:
                self._take(step, digests)
            except NotNow as error:
                _log(f"not done: {error}")

    def _take(self, step: Step, digests: frozenset[str]) -> None:
        match step:
            case Elect(node):
                # Written before it is told, so that our own end in between leaves one primary.
                self._note(primary=node, followers=())
                self._clients[node].replicaof("NO", "ONE")
            case Promote(node):
                self._clients[node].replicaof("NO", "ONE")
            case Follow(node):
                self._clients[node].replicaof(*self._nodes[self._record.primary].address)
                self._note(followers=(node,))
            case HandOver(node, order):
                self._note(heir=node, order=order, refusal="")
                to = self._nodes[node].address
                words = ("FAILOVER", "TO", to.host, to.port, "TIMEOUT", _HAND_OVER_MS)
                ask: Any = self._clients[self._record.primary].execute_command
                ask(*words)
            case Succeed(node):
                self._note(primary=node, heir=None, followers=())
            case Refuse(order, reason):
                self._note(heir=None, order=order, refusal=reason)
            case Point(node):
                self._premises.point(self._nodes[node])
            case SetPasswords(node):
                passwords = [f"#{digest}" for digest in sorted(digests)]
                ask = self._clients[node].execute_command
                ask("ACL", "SETUSER", APP, "resetpass", *passwords)

    def _note(self, **changes: Any) -> None:
        record = replaced(self._record, **changes)
        write_record(self._directory, record)
        self._record = record


def _log(text: str) -> None:
    at = time.strftime("%H:%M:%S", time.localtime(SYSTEM_CLOCK.wall()))
    sys.stdout.write(f"{at} {text}\n")
    sys.stdout.flush()


def main() -> None:
    """Run the provider whose own file the argument names."""
    directory = Path(sys.argv[1]).parent.parent
    found = manifest.load(directory)
    site = None if found is None else Site.of(found, directory)
    if site is None or site.premises is None:
        raise SystemExit(f"{directory} holds no managed lab")
    Provider(site, site.premises).run()
