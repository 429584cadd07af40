from __future__ import annotations

from hashlib import blake2b

import pytest

from aragora_redis.rate_limit import share
from aragora_redis.rate_limit.policy import LimitPolicy
from aragora_redis.rate_limit.share import FleetSize, Share, share_of

IDS = tuple(f"instance-{n}" for n in range(10))


def policy(burst: int) -> LimitPolicy:
    return LimitPolicy("p", 3, 3_600_000_000, burst)


def fleet_of(*ids: str, expected: int | None = None) -> FleetSize:
    fleet = FleetSize(expected=expected)
    fleet.observe(ids, healthy=True)
    return fleet


def shares(burst: int, subject: bytes, ids: tuple[str, ...] = IDS) -> list[Share | None]:
    fleet = fleet_of(*ids)
    return [share_of(policy(burst), fleet, own=own, digest=subject) for own in ids]


@pytest.mark.parametrize("burst", [10, 11, 1000])
def test_large_burst_is_divided_evenly(burst: int) -> None:
    assert shares(burst, b"s") == [Share(0.1)] * 10


@pytest.mark.parametrize("burst", [1, 3, 9])
def test_small_burst_belongs_to_as_many_instances_as_it_has_tokens(burst: int) -> None:
    for n in range(50):
        given = shares(burst, b"subject-%d" % n)
        assert given.count(Share(1 / burst)) == burst
        assert given.count(Share(0.0)) == 10 - burst


def test_owners_differ_by_subject_and_stay_when_another_instance_leaves() -> None:
    owners = {
        n: {own for own, share in zip(IDS, shares(3, b"%d" % n), strict=True) if share != Share(0)}
        for n in range(100)
    }
    assert set.union(*owners.values()) == set(IDS)
    fewer = IDS[:-1]
    for n, before in owners.items():
        after = {
            own
            for own, share in zip(fewer, shares(3, b"%d" % n, fewer), strict=True)
            if share != Share(0)
        }
        assert before - {IDS[-1]} <= after


def test_unknown_fleet_gives_no_share() -> None:
    assert share_of(policy(100), FleetSize(), own="a", digest=b"s") is None


def test_expected_size_divides_but_names_no_owners() -> None:
    fleet = FleetSize(expected=4)
    assert share_of(policy(100), fleet, own="a", digest=b"s") == Share(0.25)
    assert share_of(policy(3), fleet, own="a", digest=b"s") is None


def test_who_is_not_on_the_list_owns_nothing() -> None:
    assert share_of(policy(3), fleet_of(*IDS), own="new", digest=b"s") == Share(0.0)


def test_owners_follow_the_fleet() -> None:
    fleet = fleet_of(*IDS)
    assert share_of(policy(9), fleet, own="new", digest=b"s") == Share(0.0)
    fleet.observe((*IDS, "new"), healthy=True)
    assert Share(1 / 9) in {
        share_of(policy(9), fleet, own="new", digest=b"%d" % n) for n in range(20)
    }


def test_who_owns_a_subject_takes_few_steps_in_a_large_fleet(monkeypatch) -> None:
    """A thousand digests for each subject held the loop up for a millisecond, in an outage."""
    ids = [f"instance-{n}" for n in range(1000)]
    fleet = fleet_of(*ids)
    share_of(policy(100), fleet, own=ids[0], digest=b"s")
    made: list[bytes] = []

    def place(of: bytes) -> bytes:
        made.append(of)
        return blake2b(of, digest_size=8).digest()

    monkeypatch.setattr(share, "_place", place)
    subjects = [b"%d" % n for n in range(1000)]
    owned = [share_of(policy(100), fleet, own=ids[0], digest=subject) for subject in subjects]
    assert made == subjects
    assert 20 < owned.count(Share(0.01)) < 300, "about a tenth"


def test_nothing_observed() -> None:
    assert FleetSize().size is None
    assert FleetSize(expected=4).size == 4


def test_fleet_grows_at_once() -> None:
    fleet = FleetSize(expected=9)
    fleet.observe(["a"], healthy=True)
    assert fleet.size == 1
    fleet.observe(["b", "a"], healthy=False)
    assert (fleet.size, fleet.ids) == (2, ("a", "b"))


def test_fleet_shrinks_after_three_healthy_beats_in_a_row() -> None:
    fleet = FleetSize()
    fleet.observe("abcd", healthy=True)
    sizes = []
    for healthy in (True, True, False, True, True, True):
        fleet.observe("a", healthy=healthy)
        sizes.append(fleet.size)
    assert sizes == [4, 4, 4, 4, 4, 1]


def test_first_beats_after_an_outage_do_not_shrink_the_fleet() -> None:
    fleet = FleetSize()
    fleet.observe("abcd", healthy=True)
    for seen in ("a", "ab", "abcd", "abcd", "abcd"):
        fleet.observe(seen, healthy=True)
        assert fleet.size == 4


def test_replaced_instances_do_not_pile_up() -> None:
    fleet = FleetSize()
    for n in range(100):
        fleet.observe([f"boot-{n}"], healthy=True)
    assert fleet.size == 3
