"""What one instance does with what it hears: one answer or message at a time, without I/O."""

from __future__ import annotations

from typing import Any, NamedTuple

from .store import NOTHING, History, Position, Record, Survey


class Rules(NamedTuple):
    """What the protocol demands; a model that lacks one of them must be caught.

    Attributes:
        ends: a position is carried over only as far as its history has survived.
        ring: what others have revoked is remembered until its survival is certain.
        floors: what a comparison lets the ring forget is compared again if that history ends.
        arrived: what has survived is remembered until the position is in a later era.
        owed: what an instance revokes is owed until a primary has confirmed it.
        order: a message moves the position only if it continues it.
        unanimous: who starts waits until all have reconciled what it has, or know nothing,
        nothing: whoever knows something does not say that it knows nothing,
        look: and has looked once more since.
        later: a comparison lets nothing be forgotten of histories that began after it.
    """

    ends: bool = True
    ring: bool = True
    floors: bool = True
    arrived: bool = True
    owed: bool = True
    order: bool = True
    unanimous: bool = True
    nothing: bool = True
    look: bool = True
    later: bool = True


class Kept(NamedTuple):
    """A change that may have to be published again."""

    at: Position
    members: int
    own: bool

    def comes_after(self, there: Position) -> bool:
        """Whether a comparison there has not seen it."""
        if self.at[:3] == there[:3]:
            return self.at.seq > there.seq
        return self.at.nonce == there.nonce and self.at.era > there.era


class Question(NamedTuple):
    """What an instance asks its server.

    Attributes:
        what: which question.
        some: members that it publishes, or held when it asked.
        head: what it has surveyed before.
        position: where it was when it asked.
        then: what it asks next, for want of anything else.
        sent: whether the answer is on its way.
    """

    what: str
    some: int = 0
    head: Survey | None = None
    position: Position | None = None
    then: str = ""
    sent: bool = False


UNVOUCHED, AGREED, LOOKING, LOOKED = range(4)
"""Who starts waits for a beat that finds all agreed, begins a look after it, and ends that."""


class Instance(NamedTuple):
    """One instance.

    Attributes:
        behind: it is connected to the server that was the primary before.
        known: what it refuses.
        owed: own members that no primary is known to hold.
        learned: those of others that the present history has not shown.
        ring: changes whose survival is not certain.
        floors: replication id, era and number up to which the ring has forgotten.
        compare: its position cannot be carried over.
        ground: a new connection has not been looked at.
        woken: something that it heard does not fit.
        asks: the question under way.
        lane: a revocation on its way: its members, and where it stands once that is known.
        inbox: what the server has sent, in order: `("message", position, members)`,
            `("answer", what)`, or `("agreed", history)` to a beat.
        ready: it judges tokens.
        reconciled: the history that lacks nothing of what it knows: what that had lost was
            published again, or nothing was known when it was first seen.
        vouched: how far it has come since a beat found that all have.
    """

    behind: bool = False
    known: int = 0
    position: Position | None = None
    owed: int = 0
    learned: int = 0
    ring: tuple[Kept, ...] = ()
    floors: tuple[tuple[int, int, int], ...] = ()
    compare: bool = False
    ground: bool = True
    woken: bool = False
    asks: Question | None = None
    lane: tuple[int, Position | None] | None = None
    inbox: tuple[tuple[Any, ...], ...] = ()
    ready: bool = False
    reconciled: History | None = None
    vouched: int = UNVOUCHED

    def connected(self, *, asks_again: bool = False) -> Instance:
        """Anew, to the primary; the question under way is given up, or asked there once more."""
        vouched = min(self.vouched, AGREED) if self.vouched != LOOKED else LOOKED
        asks = self.asks._replace(sent=False) if self.asks and asks_again else None
        if asks:
            vouched = self.vouched
        return self._replace(
            behind=False, asks=asks, lane=None, inbox=(), ground=True, woken=False, vouched=vouched
        )

    def hears(self, rules: Rules) -> Instance:
        """Take in the first of what the server has sent."""
        (kind, *heard), *rest = self.inbox
        here = self._replace(inbox=tuple(rest))
        match kind:
            case "message":
                position, some = heard
                here = here._message(position, some, rules)
            case "agreed":
                here = here._replace(vouched=AGREED) if heard[0] == here.reconciled else here
            case "answer":
                here = here._answer(heard[0], rules)._looked()
        return here._starts(rules)

    def confirmed(self, position: Position, some: int, *, own: bool) -> Instance:
        """A primary has joined members."""
        here = self._replace(owed=self.owed & ~some, learned=self.learned & ~some)
        return here._keeps(Kept(position, some, own))

    def knows_nothing(self, rules: Rules) -> bool:
        """Whether it has nothing that a history could lack."""
        return not (rules.nothing and (self.known or self.owed or self.learned or self.ring))

    def word(self, rules: Rules) -> History | None:
        """What it says of itself with each beat."""
        return self.reconciled or (NOTHING if self.knows_nothing(rules) else None)

    # --- readiness --------------------------------------------------------------------------

    def _looked(self) -> Instance:
        """Say what is reconciled, once a look is over."""
        if self.asks is not None or self.ground or self.learned or self.position is None:
            return self
        if self.reconciled != self.position[:3]:
            return self._replace(reconciled=self.position[:3], vouched=UNVOUCHED)
        return self._replace(vouched=LOOKED) if self.vouched == LOOKING else self

    def _starts(self, rules: Rules) -> Instance:
        """Judge tokens as soon as the rules allow it, and from then on."""
        least = (LOOKED if rules.look else AGREED) if rules.unanimous else UNVOUCHED
        if self.ready or self.position is None or self.vouched < least:
            return self
        return self._replace(ready=True, vouched=UNVOUCHED)

    # --- messages ---------------------------------------------------------------------------

    def _message(self, position: Position, some: int, rules: Rules) -> Instance:
        """What was published joins in any case, and moves the position if it continues it."""
        mine, here = self.position, self._learns(some)
        if mine is None and self.reconciled != position[:3]:
            here = here._replace(reconciled=None, vouched=UNVOUCHED)
        known = mine.seq if mine is not None and mine[:3] == position[:3] else None
        if known is not None and position.seq <= known:
            return here
        if rules.ring:
            here = here._keeps(Kept(position, some, own=False))
        if rules.order and (known is None or position.seq != known + 1):
            return here._replace(woken=True)
        return here._replace(position=position)

    def _learns(self, some: int) -> Instance:
        return self._replace(known=self.known | some, learned=self.learned & ~some)

    def _keeps(self, kept: Kept) -> Instance:
        if not kept.members or kept in self.ring:
            return self
        return self._replace(ring=tuple(sorted((*self.ring, kept))))

    # --- answers ----------------------------------------------------------------------------

    def _answer(self, answer: Any, rules: Rules) -> Instance:
        asked = self.asks
        assert asked is not None
        here = self._replace(asks=None)
        match asked.what:
            case "open era":
                asks = Question("survey", position=here.position)
                return here._replace(ground=False, asks=asks)
            case "survey" | "compare" | "survey again" if answer is None:
                return here._replace(ground=True)  # emptied meanwhile
            case "survey":
                return here._follow(answer, asked.position, rules)
            case "read feed":
                return here._read(answer, asked, rules)
            case "publish owed":
                return here.confirmed(answer, asked.some, own=True)._goes_on(asked)
        if asked.what in {"publish learned", "publish rest"}:
            here = here.confirmed(answer, asked.some, own=False)
        return here._comparing(answer, asked, rules)

    def _follow(self, head: Survey, asked_at: Position | None, rules: Rules) -> Instance:
        """Carry the position into the history that was found, and find what that lacks."""
        here, mine, there = self, self.position, head.position
        if mine is None and self.knows_nothing(rules) and self.reconciled != there[:3]:
            here = here._replace(reconciled=there[:3], vouched=UNVOUCHED)
        if mine is None or mine.nonce != there.nonce:
            here = here._replace(compare=True)
        elif mine[:3] != there[:3]:
            here = here._collects_lost(mine, head, rules)
            survived = head.end_of(mine.rid, mine.era)
            if not rules.ends:
                here = here._replace(position=there._replace(seq=mine.seq))
            elif survived is not None:
                here = here._replace(position=mine._replace(seq=min(mine.seq, survived)))
            else:
                here = here._replace(compare=True)
        elif asked_at is not None and asked_at[:3] == there[:3] and asked_at.seq > there.seq:
            here = here._replace(compare=True)  # behind us within one era
        then = "compare" if here.compare else "read feed"
        asks = Question("publish owed", here.owed, head, then=then)
        return here._replace(asks=asks) if here.owed else here._goes_on(asks)

    def _goes_on(self, asked: Question) -> Instance:
        """The feed is read from where the position is by then."""
        return self._replace(asks=Question(asked.then, 0, asked.head, self.position))

    def _collects_lost(self, mine: Position, head: Survey, rules: Rules) -> Instance:
        """Move what a history has lost out of the ring; compare where the ring cannot tell."""
        arrived = mine.era if rules.arrived else head.position.era
        here = (head.position.rid, head.position.era)
        owed, learned, stay = self.owed, self.learned, []
        for kept in self.ring:
            survived = head.end_of(kept.at.rid, kept.at.era)
            if kept.at[1:3] == here:
                stay.append(kept)
            elif survived is None or kept.at.seq > survived:
                owed |= kept.members if kept.own else 0
                learned |= 0 if kept.own else kept.members
            elif kept.at.era >= arrived:
                stay.append(kept)
        lost = any(
            (survived := head.end_of(rid, era)) is None or seq > survived
            for rid, era, seq in self.floors
            if (rid, era) != here
        )
        return self._replace(
            owed=owed,
            learned=learned & ~owed,
            ring=tuple(stay),
            floors=tuple(each for each in self.floors if each[:2] == here or each[1] >= arrived),
            compare=self.compare or (lost and rules.floors),
        )

    def _read(self, records: tuple[Record, ...], asked: Question, rules: Rules) -> Instance:
        """Apply what the feed has after the position; compare where it does not continue it."""
        here, head, mine = self, asked.head, self.position
        assert head is not None
        assert mine is not None
        there = head.position
        for era, seq, some in records:
            if era > there.era:
                break
            if (era, seq) <= mine[2:]:
                continue
            rid = head.history(era)
            if rid is None or not head.continues(mine, era, seq):
                return here._replace(position=mine, asks=Question("compare"))
            mine = Position(mine.nonce, rid, era, seq)
            here = here._learns(some)
            if rules.ring:
                here = here._keeps(Kept(mine, some, own=False))
        if mine.era != there.era and head.continues(mine, there.era, 1):
            mine = there._replace(seq=0)
        there_yet = mine[:3] == there[:3] and mine.seq >= there.seq
        return here._replace(position=mine, asks=None if there_yet else Question("compare"))

    # --- comparison -------------------------------------------------------------------------

    def _comparing(self, answer: Any, asked: Question, rules: Rules) -> Instance:
        """Make both sides hold the union; it is over at the head that was read before."""
        match asked.what:
            case "compare" if answer.members == self.known:
                return self._compared(answer, rules)
            case "compare":
                return self._replace(asks=Question("scan", self.known, answer))
            case "scan":
                asks = asked._replace(what="survey again", sent=False)
                return self._replace(known=self.known | answer, asks=asks)
            case "survey again" if asked.head and answer.position[:3] != asked.head.position[:3]:
                return self  # the data moved; it begins anew
            case "survey again" if missing := asked.some & ~answer.members:
                return self._replace(asks=Question("publish rest", missing, asked.head))
        return self._compared(asked.head, rules) if asked.head is not None else self

    def _compared(self, head: Survey, rules: Rules) -> Instance:
        """Both sides hold the union; what the ring has of other histories is in it."""
        there = head.position
        kept = [
            each
            for each in self.ring
            if each.comes_after(there) and (rules.later or each.at[:3] == there[:3])
        ]
        floors = sorted({there[1:], *(each for each in self.floors if each[1] > there.era)})
        return self._replace(
            position=there, compare=False, learned=0, ring=tuple(kept), floors=tuple(floors)
        )
