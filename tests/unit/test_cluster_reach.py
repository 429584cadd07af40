"""To which nodes of a cluster connections lead, as what is known of them changes."""

from __future__ import annotations

from typing import Any

import pytest
from tests.ports import free_port

from aragora_redis import SharedState
from aragora_redis.address import Address
from aragora_redis.clock import SYSTEM_CLOCK
from aragora_redis.link.replies import RedirectError
from aragora_redis.settings import from_env
from aragora_redis.topology.nodes import Claim, NodeStatement

THIRDS = (range(5461), range(5461, 10923), range(10923, 16384))
A, B, C, D = (Address(f"127.0.0.{n}", free_port()) for n in range(1, 5))  # where nobody listens


class Told:
    """A reach that is told what nodes say, one statement at a time."""

    def __init__(self):
        env = {"ARAGORA_REDIS_CLUSTER_NODES": f"{A.host}:{A.port}"}
        followed: Any = SharedState(from_env(env))._redis
        self.reach = followed.reach

    def says(self, node: str, *claims: Claim):
        panel, now = self.reach.panel, SYSTEM_CLOCK.monotonic()
        panel.record(NodeStatement(node, claims, (), now))
        if panel.decide(now):
            self.reach._on_map(panel.map)

    def moved(self, slot: int, to: Address):
        text = f"MOVED {slot} {to.host}:{to.port}"
        self.reach.redirected(RedirectError("MOVED", text, slot, to))

    @property
    def leads_to(self) -> set[Address]:
        return {each for each in (A, B, C, D) if self.reach.at(each) is not None}


def claim(node: str, address: Address, epoch: int, *slots: range) -> Claim:
    return Claim(node, address, epoch, slots, down=False)


STANDING = [
    claim(node, address, epoch, slots)
    for node, address, epoch, slots in zip("abc", (A, B, C), (1, 2, 3), THIRDS, strict=True)
]


@pytest.fixture
async def told():
    made = Told()
    for node in "abc":
        made.says(node, *STANDING)
    yield made
    await made.reach.close()


@pytest.mark.parametrize("by_redirection", [False, True], ids=["nodes", "redirection"])
async def test_a_primary_that_was_replaced_is_left_whoever_told_of_it_first(told, by_redirection):
    """It is one by its own word for as long as nobody has asked it again."""
    assert told.leads_to == {A, B, C}
    if by_redirection:
        told.moved(0, D)
        assert told.leads_to == {A, B, C, D}
    told.says("b", *STANDING[1:], claim("d", D, 4, THIRDS[0]))
    assert told.leads_to == {B, C, D}


async def test_a_primary_whose_last_slot_has_moved_to_another_is_kept(told):
    told.says("b", STANDING[0], claim("b", B, 4, *THIRDS[:2]), STANDING[2])
    assert told.leads_to == {A, B, C}
