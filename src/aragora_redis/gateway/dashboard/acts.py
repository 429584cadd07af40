"""What an operator can have done from the dashboard, and what is said before it is. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from ...errors import InvalidInputError
from ...names import validate_name
from ...settings import Feature
from ...state.status import Status
from .wording import count

Verb = Literal["switchover", "circuit", "revoke", "sessions", "end-session", "end-sessions"]
FORCES = ("open", "closed", "auto")
KINDS = {"user": "user", "jti": "token (jti)", "family": "family (one login)"}
LASTS = {"": "until it is undone", "600": "10 minutes", "3600": "1 hour", "86400": "1 day"}
"""For how long a force holds: seconds, in words."""
FIELDS = ("kind", "who", "target", "of", "state", "lasts", "days")
_LONGEST = 1024


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants, as a button or a form says it.

    Attributes:
        verb: what to do,
        target: to what: a circuit, a server, or the handle of a session.
        of: the feature whose Redis is meant; empty for that of those which have none of their own.
        state: what a circuit is forced to.
        kind: of what is revoked.
        who: whose tokens or sessions, or the id of a token. Never shown but to who typed it.
        lasts: seconds for which a force holds; empty for until it is undone.
        days: in how many days a token expires.
    """

    verb: Verb
    target: str = ""
    of: str = ""
    state: str = ""
    kind: str = "user"
    who: str = ""
    lasts: str = ""
    days: str = "1"

    @classmethod
    def parse(cls, form: Mapping[str, str]) -> Wish | None:
        """Read a form; None where it is none of ours."""
        verb, _, target = form.get("act", "").partition(" ")
        if verb not in _VERBS or any(len(value) > _LONGEST for value in form.values()):
            return None
        said = {"target": target}
        if verb == "circuit" and target:  # a button beside it says all in one
            said["state"], _, said["target"] = target.partition(" ")
        if verb == "switchover" and target.partition(" ")[0] in set(Feature):
            said["of"], _, said["target"] = target.partition(" ")
        meant = said.get("of", "")
        said |= {name: form[name].strip() for name in FIELDS if name in form}
        of = said.get("of", "")
        if (meant and of != meant) or (of and (verb != "switchover" or of not in set(Feature))):
            return None
        return cls(verb, **said)  # type: ignore[arg-type]  # in _VERBS

    @property
    def fault(self) -> str | None:
        """What is wrong with it, to who typed it."""
        if self.verb == "circuit":
            if self.state not in FORCES or not _is_name(self.target):
                return "A circuit has a name of letters, digits, dots, dashes and underscores."
            return None if self.lasts in LASTS else "A force holds as long as the list says."
        if self.verb in {"revoke", "sessions", "end-session", "end-sessions"} and not self.who:
            return "Say whose: the field is empty."
        if self.verb == "revoke" and self.kind not in KINDS:
            return "That cannot be revoked here."
        if self.verb == "revoke" and self.kind == "jti" and not _is_days(self.days):
            return "A token expires in 1 to 366 days."
        return None

    @property
    def fields(self) -> dict[str, str]:
        """The form that says the same."""
        said = {"act": self.verb} | {name: getattr(self, name) for name in FIELDS}
        return {name: value for name, value in said.items() if value}


_VERBS = frozenset({"switchover", "circuit", "revoke", "sessions", "end-session", "end-sessions"})


@dataclass(frozen=True, slots=True)
class Question:
    """What is said before something is done.

    Attributes:
        title: what is about to be done, as a question.
        happens: what will happen.
        affected: who is affected.
        lasts: for how long.
        undone: whether and how it can be undone.
        button: what does it.
        refusal: why it cannot be done.
    """

    title: str
    happens: str
    affected: str
    lasts: str
    undone: str
    button: str
    refusal: str | None = None


def of_circuit(wish: Wish, status: Status) -> Question:
    """Before a circuit is forced, or let go."""
    name, state = wish.target, wish.state
    everywhere = _instances(status)
    until = LASTS[wish.lasts]
    if state == "auto":
        return Question(
            f"Let the calls of {name} decide again?",
            "The circuit is no longer held: it closes, and opens when its calls fail.",
            f"All callers of {name}, on {everywhere}, within a second.",
            "From now on.",
            "Yes: hold it open or closed again.",
            "Let its calls decide",
        )
    if state == "open":
        happens = f"No call of {name} is let through: callers are refused at once, and can retry."
    else:
        happens = (
            f"Every call of {name} is let through, also while it fails: nothing protects callers "
            "from a dependency that is down."
        )
    return Question(
        f"Hold circuit {name} {state}?",
        happens,
        f"All callers of {name}, on {everywhere}, within a second.",
        f"{until[0].upper()}{until[1:]}.",
        "Yes, at any time: let its calls decide again.",
        f"Hold it {state}",
    )


def of_revocation(wish: Wish, status: Status, *, longest: float, pardons: bool) -> Question:
    """Before tokens are revoked; `longest` is the lifetime of a token in seconds."""
    what = {
        "user": "all tokens of this user that were issued until now",
        "family": "all tokens of this login, and what was refreshed from it, issued until now",
        "jti": "this token",
    }[wish.kind]
    lasts = (
        f"Until it expires, in {count(int(wish.days), 'day')}."
        if wish.kind == "jti"
        else f"Until the last of them has expired: {longest / 86400:g} days at most."
    )
    return Question(
        f"Revoke {what}?",
        "They are refused from now on, also while Redis fails over. "
        "Who logs in again gets tokens that hold."
        if wish.kind != "jti"
        else "It is refused from now on, also while Redis fails over.",
        f"Whoever bears {'it' if wish.kind == 'jti' else 'one of them'}, on {_instances(status)}: "
        "here at once, elsewhere within a second.",
        lasts,
        "By a pardon: aragora-redis tokens pardon."
        if pardons
        else "No: no pardon key is set (ARAGORA_PARDON_KEY), so nobody can pardon it.",
        "Revoke",
    )


def of_sessions(wish: Wish, status: Status) -> Question:
    """Before a session, or all of a user, end."""
    one = wish.verb == "end-session"
    what = "this session" if one else "all sessions of this user"
    return Question(
        f"End {what}?",
        "What it holds is deleted, and its id opens nothing any more."
        if one
        else "What they hold is deleted, and their ids open nothing any more.",
        f"The user, who has to log in again {'there' if one else 'everywhere'}; "
        f"{_instances(status)} learn of it within a second.",
        "For good.",
        "No. The user can begin a new one.",
        "End it" if one else "End all",
    )


def of_switchover(
    old: str, new: str | None, *, shard: bool, features: tuple[str, ...] = ()
) -> Question:
    """Before a primary hands over while it lives.

    Args:
        old: what it is called.
        new: the same of its heir; None where that is not known yet.
        shard: whether others go on being written.
        features: those whose Redis it is; empty where it is that of all.
    """
    heir = new or "whichever replica the Sentinels choose"
    concerned = features or tuple(Feature)
    meanwhile = "Limits are decided meanwhile. " if Feature.LIMITS in concerned else ""
    meanwhile += "Known revocations hold. " if Feature.TOKENS in concerned else ""
    whose = f", in the Redis of {', '.join(features)}" if features else ""
    return Question(
        f"Hand over from {old} to {new or 'a replica'}{whose}?",
        f"Writes are held, the replicas catch up, and {heir} becomes primary; {old} follows it.",
        f"Whoever writes{' to this shard' if shard else ' there' if features else ''} waits about "
        f"a second. {meanwhile}Nothing acknowledged is lost.",
        "One to three seconds; until then it is undone where it cannot go on.",
        "Yes: hand over once more.",
        "Hand over",
    )


def refused(question: Question, why: str) -> Question:
    """The same, of what cannot be done now."""
    return replace(question, refusal=f"{why[0].upper()}{why[1:]}." if why else "It cannot be done.")


def _instances(status: Status) -> str:
    return f"all {count(status.instances, 'instance')}" if status.instances > 1 else "this instance"


def _is_name(name: str) -> bool:
    try:
        validate_name(name, "a circuit")
    except InvalidInputError:
        return False
    return True


def _is_days(text: str) -> bool:
    return text.isascii() and text.isdecimal() and 1 <= int(text) <= 366
