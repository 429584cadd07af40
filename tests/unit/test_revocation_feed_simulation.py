"""I1 in a simulation: rollbacks, wipes, lost messages and dead instances, in every order.

The store is the model that the join script is held to, the instances are the product's `Shard`s;
only the I/O between them is played here, in the order in which `state.token_feed` does it.
"""

from __future__ import annotations

from hashlib import blake2b

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from aragora_redis.tokens.entry import DAY, DayDigest, Entry
from aragora_redis.tokens.model import ShardModel
from aragora_redis.tokens.replica import lacking
from aragora_redis.tokens.shard import Head, Shard

TODAY = 20_000
NOW = TODAY * DAY * 1_000_000

MEMBERS = [blake2b(b"%d" % number, digest_size=8).digest() for number in range(6)]

who = st.integers(0, 2)
entries = st.builds(
    lambda number, score, ahead: Entry(TODAY + ahead, MEMBERS[number], score),
    st.integers(0, 5),
    st.integers(1, 3),
    st.integers(0, 1),
)


days = st.integers(TODAY, TODAY + 1)


def held(shard, day):
    return {each.member: each.score for each in shard.replica.entries() if each.day == day}


class Fleet(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.births = 0
        self.primary = ShardModel(self._name())
        self.replica = self.primary.promoted(b"")
        self.instances = [Shard(0) for _ in range(3)]
        self.owed: set[Entry] = set()

    def _name(self):
        self.births += 1
        return f"server-{self.births}".encode()

    def _nonce(self):
        return f"nonce-{self.births}".encode()

    # --- what instances do ----------------------------------------------------------------

    def _join(self, shard, some, *, own):
        position, changed = self.primary.join(some, nonce=self._nonce(), now=NOW)
        shard.confirmed(position, some, own=own)
        return position if changed else None

    def _publish(self, position, some, hearers):
        """The script publishes what has changed, and nothing where nothing has."""
        if position is not None:
            for shard in hearers:
                shard.on_message(position, some)

    @rule(index=who, entry=entries, reached=st.booleans(), heard=st.sets(who))
    def revoke(self, index, entry, reached, heard):
        """`reached` False: the answer never came, whether the join ran or not."""
        shard = self.instances[index]
        shard.add_own(entry)
        self.owed.add(entry)
        if reached:
            position = self._join(shard, [entry], own=True)
            self._publish(position, [entry], [self.instances[i] for i in heard])

    @rule(index=who)
    def join_without_an_answer(self, index):
        self.primary.join(self.instances[index].dirty, nonce=self._nonce(), now=NOW)

    @rule(index=who)
    def look(self, index):
        self._look(self.instances[index])

    def _look(self, shard):
        self.primary.join([], nonce=self._nonce(), now=NOW)
        head = self._head()
        plan = shard.on_head(head, asked_at=shard.position)
        if plan.own:
            self._join(shard, plan.own, own=True)
        full = plan.full
        if not full:
            full = not shard.on_feed(head, self.primary.after(shard.position))
        if full or not shard.arrive(head):
            self._compare(shard)

    def _head(self) -> Head:
        head = self.primary.head(NOW)
        assert head is not None
        return head

    def _compare(self, shard):
        head = self._head()
        one = True
        for day in shard.differing_days(head, NOW / 1_000_000):
            theirs = dict(self.primary.days.get(day, {}))
            for member, score in theirs.items():
                shard.replica.apply(Entry(day, member, score))
            stored, true = self._head().digests.get(day, DayDigest()), digest_of(theirs)
            if true != stored:
                one = False
                assert self.primary.redigest(day, stored=stored, true=true, now=NOW)
            missing = [Entry(day, *pair) for pair in lacking(held(shard, day), theirs)]
            if missing:
                self._join(shard, missing, own=False)
        if one:
            shard.on_full(head)

    @rule(index=who)
    def publish_learned(self, index):
        shard = self.instances[index]
        if shard.learned:
            self._join(shard, shard.learned, own=False)

    # --- what happens to them ---------------------------------------------------------------

    @rule()
    def replicate(self):
        self.replica = self.primary.promoted(b"")

    @rule()
    def fail_over(self):
        """The replica holds a prefix of the primary; what came after is lost."""
        self.primary = self.replica.promoted(self._name())
        self.replica = self.primary.promoted(b"")

    @rule()
    def lose_all_of_redis(self):
        self.primary = ShardModel(self._name())
        self.replica = self.primary.promoted(b"")

    @rule(day=days, lost=st.sets(st.integers(0, 5)), digest_too=st.booleans())
    def lose_members(self, day, lost, digest_too):
        """Something else than the script takes them: an eviction, or a hand."""
        members = self.primary.days.get(day, {})
        for number in lost:
            members.pop(MEMBERS[number], None)
        if digest_too:
            self.primary.digests.pop(day, None)

    @rule(index=who)
    def restart_instance(self, index):
        """Its memory goes; what no other instance and no server knows may go with it."""
        self.instances[index] = Shard(0)
        known = [self._known_to(shard) for shard in self.instances]
        self.owed = {entry for entry in self.owed if any(_covers(k, entry) for k in known)}

    @staticmethod
    def _known_to(shard):
        return {day: held(shard, day) for day in (TODAY, TODAY + 1)}

    # --- what must hold -----------------------------------------------------------------------

    @invariant()
    def an_instance_that_knows_refuses(self):
        for shard in self.instances:
            for dirty in (*shard.dirty, *shard.learned):
                assert (shard.replica.score(dirty.member) or 0) >= dirty.score

    @precondition(lambda self: self.owed)
    @rule()
    def heal(self):
        """Everyone looks, publishes what is due, and looks again: all know all that anyone knew."""
        for _ in range(4):
            for index, shard in enumerate(self.instances):
                self._look(shard)
                self._compare(shard)  # as each minute
                self.publish_learned(index)
        for shard in self.instances:
            self._look(shard)
            assert shard.position == self._head().position
            assert not shard.differing_days(self._head(), NOW / 1_000_000)
            assert not shard.dirty
            assert not shard.learned
            for entry in self.owed:
                assert _covers(self._known_to(shard), entry)
        for entry in self.owed:
            assert _covers(self.primary.days, entry)

    def teardown(self):
        if self.owed:
            self.heal()


def digest_of(members):
    shard = Shard(0)
    for member, score in members.items():
        shard.replica.apply(Entry(TODAY, member, score))
    return shard.replica.digests().get(TODAY, DayDigest())


def _covers(days, entry):
    return days.get(entry.day, {}).get(entry.member, -1) >= entry.score


Fleet.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestFleet = Fleet.TestCase
