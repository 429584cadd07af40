"""What follows from the addresses of a name."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aragora_redis.topology.endpoint import STRAY_WINDOW, STRAYS, EndpointPanel, Moved


def told(*answers):
    panel = EndpointPanel()
    for now, addresses in enumerate(answers):
        panel.ask(now)
        panel.tell(addresses)
    return panel


def test_a_name_that_leads_elsewhere_has_moved_once():
    panel = told(["10.0.0.1"])
    assert panel.tell(["10.0.0.1"]) is None
    assert panel.tell(["10.0.0.2"]) == Moved("10.0.0.1", "10.0.0.2")
    assert panel.tell(["10.0.0.2"]) is None


def test_one_address_of_several_that_goes_is_no_move_but_its_connections_stray():
    panel = told(["10.0.0.1", "10.0.0.2"])
    assert panel.tell(["10.0.0.2", "10.0.0.3"]) is None
    assert panel.strays({"10.0.0.1", "10.0.0.2"}, 1)
    assert not panel.strays({"10.0.0.2", "10.0.0.3"}, 1)


def test_a_connection_may_find_the_new_server_before_the_resolver_tells():
    panel = told(["10.0.0.1"])
    assert panel.arrive("10.0.0.1") is None
    assert panel.arrive("10.0.0.2") == Moved("10.0.0.1", "10.0.0.2")
    assert panel.tell(["10.0.0.2"]) is None


def test_nobody_strays_before_the_first_answer_or_after_an_empty_one():
    assert not EndpointPanel().strays({"10.0.0.1"}, 0)
    assert not told([]).strays({"10.0.0.1"}, 0)
    assert EndpointPanel().arrive("10.0.0.1") is None


def test_a_name_that_rotates_is_left_alone_and_one_that_moved_often_long_ago_is_not():
    panel, slow = told(["10.0.0.1"]), told(["10.0.0.1"])
    for now in range(STRAYS):
        assert panel.strays({"10.0.0.9"}, now)
        assert slow.strays({"10.0.0.9"}, now * STRAY_WINDOW)
    assert not panel.strays({"10.0.0.9"}, STRAYS)
    assert panel.rotates
    assert panel.arrive("10.0.0.9") is None
    assert slow.strays({"10.0.0.9"}, STRAYS * STRAY_WINDOW)
    assert not slow.rotates


def test_only_an_answer_to_a_later_question_proves_anything():
    panel = EndpointPanel()
    panel.ask(1.0)
    assert not panel.heard_since(0.5, 1.01)
    panel.tell(["10.0.0.1"])
    assert panel.heard_since(0.5, 1.01)
    assert not panel.heard_since(1.5, 1.6)


def test_a_resolver_that_does_not_answer_is_not_waited_for():
    """Redis may live while it is down: whenever it was asked, it says nothing now."""
    panel = EndpointPanel()
    panel.ask(1.0)
    assert not panel.heard_since(0.5, 1.01)
    assert panel.heard_since(0.5, 1.1)
    assert panel.heard_since(1.05, 1.1)
    panel.fail()
    assert panel.heard_since(5.0, 5.01)
    panel.ask(6.0)
    panel.tell(["10.0.0.1"])
    assert not panel.heard_since(6.5, 6.51)


def test_a_name_that_rotated_while_it_moved_is_followed_again_once_it_is_settled():
    """Two resolvers tell the old and the new address by turns until both have forgotten the old."""
    panel = told(["10.0.0.1"])
    for now in range(1, 2 * STRAYS + 2):
        panel.ask(now)
        panel.tell([f"10.0.0.{now % 2 + 1}"])
        panel.strays({f"10.0.0.{(now + 1) % 2 + 1}"}, now)
    assert panel.rotates
    for now in (20, 25, 50):
        panel.ask(now)
        panel.tell(["10.0.0.2"])
    assert not panel.strays({"10.0.0.1"}, 20)
    assert panel.strays({"10.0.0.1"}, 51)


@given(st.lists(st.sets(st.sampled_from("abcd")), max_size=12))
def test_what_was_told_last_is_what_holds(answers):
    panel = told(*answers)
    assert set(panel.addresses) == (answers[-1] if answers else set())
