"""Which primary holds which slot, decided from what the nodes say."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from aragora_redis.address import Address
from aragora_redis.errors import UnexpectedReplyError
from aragora_redis.topology.cluster import INSIST, STALE, ClusterPanel, Shard, ShardPanel
from aragora_redis.topology.nodes import Claim, Follower, NodeStatement, read_nodes

A, B, C, D = (Address(f"10.0.0.{n}", 6379) for n in range(1, 5))
THIRDS = {"a": range(5461), "b": range(5461, 10923), "c": range(10923, 16384)}
ONE = Address("one", 6379)
NODES = (
    b"aa 10.0.0.1:6379@16379,one myself,master - 0 0 3 connected 0-99 101 [200->-bb]\n"
    b"bb 10.0.0.2:6379@16379 master,fail? - 0 1 4 disconnected 100 102-16383\n"
    b"cc 10.0.0.3:6379@16379 slave aa 0 1 3 connected\n"
    b"dd :0@0 master,noaddr - 0 1 0 disconnected\n"
)


def claim(node, address, epoch, slots, *, down=False):
    return Claim(node, address, epoch, (slots,), down)


STANDING = (
    claim("a", A, 1, THIRDS["a"]),
    claim("b", B, 2, THIRDS["b"]),
    claim("c", C, 3, THIRDS["c"]),
)


def says(node, at, *claims, followers=()):
    return NodeStatement(node, claims or STANDING, tuple(followers), at)


def panel_of(*statements, now=0.0):
    panel = ClusterPanel()
    for said in statements or [says(node, 0.0) for node in "abc"]:
        panel.record(said)
    panel.decide(now)
    return panel


def holder(panel, slot):
    shard = panel.map.owners[slot]
    return shard.address if shard is not None else None


def test_an_answer_is_read():
    said = read_nodes(NODES, asked=A, asked_at=1.0, by_name=False)
    assert said.node_id == "aa"
    assert said.claims == (
        Claim("aa", A, 3, (range(100), range(101, 102)), down=False, aliases=(ONE,)),
        Claim("bb", B, 4, (range(100, 101), range(102, 16384)), down=True),
    )
    assert said.followers == (Follower("cc", C, "aa", down=False),)
    assert said.addresses == {A, C}
    assert read_nodes(NODES, asked=A, asked_at=1.0, by_name=True).claims[0].address == ONE


def test_nodes_behind_one_address_are_called_by_the_name_that_led_there():
    """As Azure Managed Redis presents them: certificates carry the name alone."""
    rows = (
        b"aa 10.0.0.1:8500@1 myself,master - 0 0 1 connected 0-8191\n"
        b"bb 10.0.0.1:8501@1 master - 0 0 2 connected 8192-16383\n"
        b"cc 10.0.0.1:8502@1 slave bb 0 1 2 connected\n"
    )
    asked = Address("redis.example", 10000)
    said = read_nodes(rows, asked=asked, asked_at=0.0, by_name=True)
    assert said.addresses == {Address("redis.example", port) for port in (8500, 8501, 8502)}
    assert panel_of(said).resolve(Address("10.0.0.1", 8501)) == Address("redis.example", 8501)
    first = read_nodes(rows, asked=A, asked_at=0.0, by_name=True, endpoint="redis.example")
    assert first.addresses == said.addresses, "who is asked elsewhere says the same"
    plain = [
        read_nodes(rows, asked=asked, asked_at=0.0, by_name=False),
        read_nodes(rows, asked=Address("10.0.0.9", 10000), asked_at=0.0, by_name=True),
        read_nodes(rows + NODES.splitlines()[1], asked=asked, asked_at=0.0, by_name=True),
    ]
    for each in plain:
        assert Address("10.0.0.1", 8500) in each.addresses


def test_a_node_that_does_not_know_its_address_is_where_it_was_asked():
    said = read_nodes(
        b"aa :6379@16379 myself,master - 0 0 0 connected\n", asked=A, asked_at=0.0, by_name=False
    )
    assert said.claims[0].address == A


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        None,
        7,
        b"\xff",
        b"aa 10.0.0.1:6379@1 master - 0 0 3 connected\n",
        b"aa 10.0.0.1:x@1 myself,master - 0 0 3 connected\n",
        b"aa 10.0.0.1:6379@1 myself,master - 0 0 3 connected 0-99999\n",
        b"aa 10.0.0.1:6379@1 myself,master - 0 0 3 connected 9-1\n",
        b"aa myself\n",
    ],
)
def test_garbage_is_a_typed_error(reply):
    with pytest.raises(UnexpectedReplyError):
        read_nodes(reply, asked=A, asked_at=0.0, by_name=False)


def test_each_slot_goes_to_the_highest_epoch_that_claims_it():
    panel = panel_of()
    assert [shard.address for shard in panel.map.shards] == [A, B, C]
    assert panel.map.gaps == 0
    promoted = claim("d", D, 4, THIRDS["a"])
    panel.record(says("b", 1.0, *STANDING[1:], promoted))
    assert panel.decide(1.0)
    assert (holder(panel, 0), holder(panel, 16383)) == (D, C)
    assert panel.map.epoch == 4


def test_a_stale_primary_changes_nothing_whatever_it_says_of_itself():
    panel = panel_of()
    panel.record(says("b", 1.0, *STANDING[1:], claim("d", D, 4, THIRDS["a"])))
    panel.decide(1.0)
    for at in range(2, 30):  # nobody else is heard any more
        panel.record(says("a", float(at)))
        assert not panel.decide(float(at))
    assert holder(panel, 0) == D


def test_a_cluster_that_was_made_anew_is_believed_when_most_of_it_has_insisted():
    panel = panel_of(
        *(says(n, 0.0, *(replace(c, epoch=c.epoch + 40) for c in STANDING)) for n in "abc")
    )
    anew = (
        claim("x", A, 1, THIRDS["a"]),
        claim("y", B, 2, THIRDS["b"]),
        claim("z", D, 3, THIRDS["c"]),
    )

    def heard(at, *nodes):
        for node in nodes:
            panel.record(says(node, at, *anew))
        return panel.decide(at)

    heard(20.0, "x")
    assert holder(panel, 0) == A
    assert not heard(20.0 + INSIST, "x"), "one of three is no majority"
    heard(30.0, "x", "y")
    heard(30.0 + INSIST, "x", "y")
    assert (holder(panel, 0), holder(panel, 16383)) == (A, None)
    heard(34.0, "z")
    assert holder(panel, 16383) == D


def test_a_straggler_of_the_former_cluster_keeps_nobody_out():
    panel = panel_of()
    anew = (claim("x", A, 1, THIRDS["a"]), claim("y", B, 2, THIRDS["b"]))
    for at in (20.0, 20.0 + INSIST):
        panel.record(says("r", at, followers=[Follower("r", C, "a", down=False)]))
        for node in "xy":
            panel.record(says(node, at, *anew))
        panel.decide(at)
    assert {shard.node_id for shard in panel.map.shards} == {"x", "y"}


def test_a_node_of_another_cluster_is_not_heard_while_ours_speak():
    """The address of a pod that has gone may be that of a stranger."""
    panel = panel_of()
    theirs = claim("stranger", D, 99, range(16384))
    for at in (1.0, 3.0, 5.0, 7.0):
        for node in "abc":
            panel.record(says(node, at))
        assert not panel.record(says("stranger", at, theirs)), "nor those whom it names"
        assert not panel.decide(at)
    assert holder(panel, 0) == A


def test_a_redirection_leads_to_the_name_of_the_node():
    said = read_nodes(NODES, asked=A, asked_at=0.0, by_name=True)
    panel = panel_of(said)
    assert panel.resolve(A) == ONE
    assert panel.resolve(B) == B
    assert panel_of(read_nodes(NODES, asked=A, asked_at=0.0, by_name=False)).resolve(ONE) == A


def test_a_redirection_without_a_host_is_told_by_its_port():
    """Nodes with `cluster-preferred-endpoint-type unknown-endpoint` leave it out."""
    apart = (claim("a", A, 1, THIRDS["a"]), claim("b", B._replace(port=7000), 2, THIRDS["b"]))
    panel = panel_of(says("a", 0.0, *apart), says("b", 0.0, *apart))
    assert panel.resolve(Address("", 7000)) == B._replace(port=7000)
    assert panel.resolve(Address("", 7001)) is None
    assert panel_of().resolve(Address("", 6379)) is None, "any of three"


def test_a_name_that_leads_to_the_former_node_is_told_apart():
    """A node is replaced behind its name while the former one still answers."""
    name = Address("one.example", 6379)
    former = claim("a", name, 1, THIRDS["a"])
    heir = claim("n", name, 9, THIRDS["a"])
    panel = panel_of(says("a", 0.0, former, *STANDING[1:]))
    assert not panel.misled("a", name, 0.0)
    for node in "bc":
        panel.record(says(node, 1.0, heir, *STANDING[1:]))
    panel.decide(1.0)
    old, new = says("a", 1.0, former), says("n", 1.0, heir)
    assert panel.misled("a", name, 1.0)
    assert not panel.misled("n", name, 1.0)
    assert (panel.overtaken(old, name), panel.overtaken(new, name)) == (True, False)
    assert not panel.misled("a", Address("clustercfg.example", 6379), 1.0), "which leads to anyone"
    assert not panel_of().misled("z", A, 0.0), "an address is one node, and the others are late"


def test_a_replica_is_replaced_behind_its_name_too():
    name = Address("two.example", 6379)
    panel = panel_of()
    for node in "abc":
        panel.record(says(node, 1.0, followers=[Follower("new", name, "a", down=False)]))
    assert panel.misled("old", name, 1.0)
    assert not panel.misled("new", name, 1.0)


def test_a_slot_that_was_given_away_stays_until_its_new_holder_speaks():
    panel = panel_of()
    panel.record(says("a", 1.0, claim("a", A, 1, range(1, 5461)), *STANDING[1:]))
    panel.decide(1.0)
    assert holder(panel, 0) == A, "who answers MOVED, and so tells to whom"
    taken = Claim("b", B, 4, (range(1), THIRDS["b"]), down=False)
    panel.record(says("b", 1.1, STANDING[0], taken, STANDING[2]))
    panel.decide(1.1)
    assert (holder(panel, 0), holder(panel, 1)) == (B, A)


def test_a_primary_that_holds_nothing_is_known_by_its_own_word():
    panel = panel_of()
    empty = Claim("d", D, 0, (), down=False)
    panel.record(says("a", 1.0, *STANDING, empty))
    assert panel.idle(1.0) == set()
    panel.record(says("d", 1.0, *STANDING, empty))
    panel.decide(1.0)
    assert panel.idle(1.0) == {D}
    assert panel.idle(2 * STALE) == set()


def test_only_most_of_the_primaries_vouch():
    panel = panel_of()
    assert panel.heard_majority_since(0.0)
    panel.record(says("a", 5.0))
    panel.record(says("r", 5.0))  # a replica has no vote
    panel.decide(5.0)
    assert not panel.heard_majority_since(4.0)
    panel.record(says("b", 5.0))
    assert panel.heard_majority_since(4.0)
    shard = panel.map.owners[0]
    assert shard is not None
    assert panel.named_at(shard) == 5.0
    assert panel.named_at(Shard("d", D, 9)) is None


def test_replicas_count_until_most_primaries_call_them_down():
    follower = Follower("r", D, "a", down=False)
    down = replace(follower, down=True)
    panel = panel_of(*(says(node, 0.0, followers=[follower]) for node in "abc"))
    shard = panel.map.owners[0]
    assert shard is not None
    assert panel.required_replicas(shard, 0.0) == 1
    panel.record(says("a", 1.0, followers=[down]))
    assert panel.required_replicas(shard, 1.0) == 1
    assert ShardPanel(panel, lambda: shard).promotable_replicas == {D}
    panel.record(says("b", 1.0, followers=[down]))
    assert panel.required_replicas(shard, 1.0) == 0
    assert panel.required_replicas(shard, 20.0) == 0, "without a majority nothing counts"
    assert ShardPanel(panel, lambda: shard).promotable_replicas == frozenset()
    assert ShardPanel(panel, lambda: shard).known_replicas == {D}
    assert ShardPanel(panel, lambda: None).promotable_replicas == frozenset()
    assert ShardPanel(panel, lambda: None).known_replicas == frozenset()


def test_a_primary_that_anybody_misses_is_being_replaced():
    panel = panel_of()
    assert not panel.replacing(0.0)
    missed = (replace(STANDING[0], down=True), *STANDING[1:])
    panel.record(says("b", 1.0, *missed))
    assert not panel.replacing(1.0), "nobody could"
    panel.record(says("b", 1.0, *missed, followers=[Follower("r", D, "a", down=False)]))
    panel.decide(1.0)
    assert panel.replacing(1.0)
    assert not panel.replacing(1.0 + STALE + 1)
