"""Who is primary, decided from what the Sentinels say."""

from __future__ import annotations

from aragora_redis.address import Address
from aragora_redis.topology.panel import GRACE, INSIST, STALE, Choice, Panel, Split, View
from aragora_redis.topology.statement import ReplicaStatement, SentinelStatement

A, B, C = (Address("10.0.0.1", port) for port in (1, 2, 3))
S1, S2, S3 = "s1", "s2", "s3"
GROUP = (S1, S2, S3)


def says(sentinel, primary, epoch, at, *, group=GROUP, replicas=(), flags=("master",)):
    return SentinelStatement(
        sentinel_id=sentinel,
        primary=primary,
        epoch=epoch,
        primary_flags=frozenset(flags),
        peers={peer: Address(peer, 26379) for peer in group if peer != sentinel},
        replicas=tuple(ReplicaStatement(address, down, not down) for address, down in replicas),
        asked_at=at,
    )


def panel_at(primary=A, epoch=5, group=GROUP, *, at=0.0):
    panel = Panel(len(group))
    for sentinel in group:
        panel.record(says(sentinel, primary, epoch, at, group=group))
    choice = panel.decide(at)
    assert isinstance(choice, Choice)
    panel.adopt(choice.view)
    return panel


def test_first_choice_waits_for_a_majority_or_the_grace():
    panel = Panel(3)
    panel.record(says(S1, A, 1, 0.0))
    assert panel.decide(0.1) is None
    assert panel.decide(GRACE) == Choice(View(A, 1, frozenset(GROUP)))
    panel.record(says(S2, B, 2, 0.1))
    assert panel.decide(0.1) == Choice(View(B, 2, frozenset(GROUP)))


def test_a_newer_epoch_of_one_sentinel_is_enough():
    panel = panel_at()
    panel.record(says(S2, B, 6, 1.0))
    choice = panel.decide(1.0)
    assert choice == Choice(View(B, 6, frozenset(GROUP)))


def test_one_sentinel_gives_the_same_primary_no_newer_epoch():
    panel = panel_at()
    panel.record(says(S1, A, 99, 1.0))
    assert panel.decide(1.0) is None
    for at in (2.0, 3.0, 1.0 + INSIST):
        panel.record(says(S1, A, 99, at))
    panel.record(says(S2, B, 6, 1.0 + INSIST))
    assert panel.decide(1.0 + INSIST) == Choice(View(B, 6, frozenset(GROUP)))


def test_a_majority_gives_it_the_epoch_that_it_has_reached():
    panel = panel_at()
    panel.record(says(S1, A, 99, 1.0))
    panel.record(says(S2, A, 7, 1.0))
    assert panel.decide(1.0) == Choice(View(A, 7, frozenset(GROUP)))


def test_another_primary_goes_before_a_newer_epoch_of_the_same():
    panel = panel_at()
    for sentinel in (S1, S2):
        panel.record(says(sentinel, A, 7, 1.0))
    panel.record(says(S3, B, 8, 1.0))
    assert panel.decide(1.0) == Choice(View(B, 8, frozenset(GROUP)))


def test_who_has_just_heard_of_a_second_failover_is_not_overruled_by_those_who_lag():
    panel = panel_at()
    panel.record(says(S1, A, 7, 1.0))
    for sentinel in (S2, S3):
        panel.record(says(sentinel, B, 6, 1.0))
    assert panel.decide(1.0) is None
    panel.record(says(S2, A, 7, 2.0))
    assert panel.decide(2.0) == Choice(View(A, 7, frozenset(GROUP)))


def test_the_first_choice_takes_the_epoch_of_most():
    panel = Panel(3)
    for sentinel, epoch in ((S1, 99), (S2, 5), (S3, 5)):
        panel.record(says(sentinel, A, epoch, 0.0))
    assert panel.decide(0.0) == Choice(View(A, 5, frozenset(GROUP)))


def test_a_stale_sentinel_changes_nothing():
    panel = panel_at(B, 6)
    panel.record(says(S3, A, 5, 1.0))
    assert panel.decide(1.0) is None
    assert panel.decide(1.0 + INSIST) is None


def test_rebuilt_sentinels_are_believed_after_they_have_insisted():
    panel = panel_at(A, 40)
    new = ("n1", "n2", "n3")
    for at in (6.0, 7.0):
        for sentinel in new:
            panel.record(says(sentinel, B, 0, at, group=new))
    assert panel.decide(7.0) is None
    for at in (8.0, 9.0, 10.0):
        for sentinel in new:
            panel.record(says(sentinel, B, 0, at, group=new))
        outcome = panel.decide(at)
    assert outcome == Choice(View(B, 0, frozenset(new)), insisted=True)


def test_a_minority_that_insists_is_not_believed():
    panel = panel_at(A, 40)
    for at in (6.0, 10.0):
        panel.record(says("n1", B, 0, at, group=("n1", "n2", "n3")))
        assert panel.decide(at) is None


def test_an_interrupted_insistence_starts_again():
    panel = panel_at(A, 5)
    for primary, at in ((B, 1.0), (A, 3.0), (B, 4.0)):
        for sentinel in GROUP:
            panel.record(says(sentinel, primary, 5, at))
        assert panel.decide(at) is None
    for sentinel in GROUP:
        panel.record(says(sentinel, B, 5, 6.9))
    assert panel.decide(6.9) is None
    assert panel.decide(7.0) == Choice(View(B, 5, frozenset(GROUP)), insisted=True)


def test_new_sentinels_that_name_the_same_primary_lend_their_epochs():
    panel = panel_at(A, 40)
    new = ("n1", "n2", "n3")
    for sentinel in new:
        panel.record(says(sentinel, A, 0, 6.0, group=new))
    outcome = panel.decide(6.0)
    assert outcome == Choice(View(A, 0, frozenset(new)))
    panel.adopt(outcome.view)
    panel.record(says("n1", B, 1, 7.0, group=new))
    assert panel.decide(7.0) == Choice(View(B, 1, frozenset(new)))


def test_sentinels_replaced_one_by_one_stay_one_generation():
    panel = panel_at(A, 5)
    groups = [("n1", S2, S3), ("n1", "n2", S3), ("n1", "n2", "n3")]
    for at, group in enumerate(groups, 6):
        for sentinel in group:
            panel.record(says(sentinel, A, 5, float(at), group=group))
    panel.record(says("n1", B, 6, 9.0, group=groups[-1]))
    assert panel.decide(9.0) == Choice(View(B, 6, frozenset(groups[-1])))


def test_two_groups_that_disagree_choose_nothing():
    panel = Panel(6)
    one, two = ("a1", "a2", "a3"), ("b1", "b2", "b3")
    for group, primary, epoch in ((one, A, 1), (two, B, 9)):
        for sentinel in group:
            panel.record(says(sentinel, primary, epoch, 0.0, group=group))
    assert panel.decide(1.0) == Split(frozenset({A, B}))


def test_a_sentinel_that_knows_nobody_yet_but_agrees_is_no_split():
    panel = Panel(3)
    for sentinel in (S1, S2):
        panel.record(says(sentinel, A, 1, 0.0))
    panel.record(says("fresh", A, 0, 0.0, group=("fresh",)))
    assert isinstance(panel.decide(0.0), Choice)


def test_the_last_moment_of_a_majority():
    panel = panel_at(A, 5)
    assert panel.named_at(A) == 0.0
    panel.record(says(S1, A, 5, 3.0))
    assert panel.named_at(A) == 0.0, "one of three is no majority"
    panel.record(says(S2, A, 5, 2.0))
    assert panel.named_at(A) == 2.0
    assert panel.named_at(B) is None


def test_old_statements_do_not_count():
    panel = panel_at()
    assert panel.required_replicas(STALE) == 0
    assert panel.required_replicas(STALE + 0.1) == 0


def test_required_replicas_are_all_that_no_majority_calls_down():
    panel = panel_at(A, 5)
    for sentinel, b_down, c_down in ((S1, True, True), (S2, True, False), (S3, False, False)):
        panel.record(says(sentinel, A, 5, 1.0, replicas=((B, b_down), (C, c_down))))
    assert panel.required_replicas(1.0) == 1
    assert panel.promotable_replicas == {C}


def test_nothing_counts_as_replicated_while_no_majority_can_be_heard():
    panel = panel_at(A, 5)
    panel.record(says(S1, A, 5, 10.0, replicas=((B, False), (C, False))))
    assert panel.required_replicas(10.0) == 0


def test_a_majority_must_be_heard_since_the_silence_began():
    panel = panel_at()
    panel.record(says(S1, A, 5, 10.0))
    assert not panel.heard_majority_since(9.0)
    panel.record(says(S2, A, 5, 10.0))
    assert panel.heard_majority_since(9.0)


def test_a_majority_decides_and_one_sentinel_never():
    panel = panel_at(A, 5)
    assert panel.agreed(0.0) == A
    panel.record(says(S1, B, 6, 1.0))
    choice = panel.decide(1.0)
    assert isinstance(choice, Choice)
    panel.adopt(choice.view)
    assert panel.agreed(1.0) is None  # the view has moved already
    panel.record(says(S2, B, 6, 1.1))
    assert panel.agreed(1.1) == B
    panel.record(says(S1, A, 4, 1.2))
    assert panel.agreed(1.2) is None


def test_who_was_named_long_ago_is_not_named_now():
    panel = panel_at(A, 5)
    assert panel.agreed(STALE) == A
    assert panel.agreed(STALE + 0.1) is None
    panel.record(says(S3, A, 5, STALE))
    assert panel.agreed(STALE + 0.1) is None  # one of three


def test_groups_of_sentinels_that_do_not_know_each_other_decide_nothing():
    panel = panel_at(A, 5)
    panel.record(says("x1", B, 9, 0.5, group=("x1", "x2")))
    assert panel.agreed(0.5) is None
