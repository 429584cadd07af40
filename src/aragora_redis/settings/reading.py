"""Read an environment: each variable on its own, with all that is wrong collected."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

from msgspec import Struct
from pydantic import ValidationError

from . import names
from .doc import Doc, Group
from .environment import PREFIX, Environment, variables
from .features import own_variables, renamed
from .model import Feature
from .secret import unexpanded

# Families in which a name we do not know is compared with ours. The real Aragora has many other
# variables of the prefix ARAGORA_, which are none of our business.
_FAMILIES = ("ARAGORA_REDIS_", "ARAGORA_TOKENS_")
_LIKENESS = 0.75
_ELSEWHERE = {
    "DATABASE": "DB",
    "DSN": "URL",
    "PASS": "PASSWORD",
    "SENTINEL": "SENTINEL_HOSTS",
    "SENTINELS": "SENTINEL_HOSTS",
    "SSL": "TLS",
    "URI": "URL",
    "USER": "USERNAME",
}
"""What others call the same: words too short to be told from others by their letters."""
_FEATURES_ELSEWHERE = {
    "BLACKLIST": "TOKENS",
    "BREAKERS": "CIRCUITS",
    "CIRCUIT_BREAKERS": "CIRCUITS",
    "LIMIT": "RATE_LIMIT",
    "LIMITS": "RATE_LIMIT",
    "REVOCATIONS": "TOKENS",
}
"""What features are called elsewhere, and the limits by the command line."""
_OF_ARAGORA = frozenset({"ARAGORA_HTTP_KEEPALIVE"})
"""Its variables that differ from one of ours by less than a typo."""
_QUOTED = 40


class Reading(Struct, frozen=True):
    """An environment, read.

    Attributes:
        values: each variable's value; one that was refused has its default.
        given: the names of the variables that are set and not empty, refused ones too.
        problems: what was refused, and why.
        warnings: names that look like a mistyped one of ours.
    """

    values: Environment
    given: frozenset[str]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]


def read(environ: Mapping[str, str]) -> Reading:
    """Read each variable on its own; nothing is raised, all problems are collected."""
    known = variables()
    given = {name: text for name, text in environ.items() if text.strip() and name in known}
    unusable = {name: why for name, text in given.items() if (why := _unusable(name, text))}
    inputs = {
        _field(name): _trimmed(known[name].doc, text)
        for name, text in given.items()
        if name not in unusable
    }
    values_read, refused = _validate(inputs)
    return Reading(
        values=values_read,
        given=frozenset(given),
        problems=(*unusable.values(), *refused),
        warnings=tuple(lookalikes(environ)),
    )


def _validate(inputs: dict[str, str]) -> tuple[Environment, tuple[str, ...]]:
    try:
        return Environment(**inputs), ()  # type: ignore[arg-type]  # validators take the text
    except ValidationError as error:
        refusals = {
            str(each["loc"][0]): each.get("ctx", {}).get("error")
            for each in error.errors(include_input=False, include_url=False)
        }
    accepted = {field: text for field, text in inputs.items() if field not in refusals}
    problems = tuple(
        _refusal(PREFIX + field.upper(), inputs[field], reason)
        for field, reason in refusals.items()
    )
    return Environment(**accepted), problems  # type: ignore[arg-type]  # as above


def _refusal(name: str, text: str, reason: ValueError | None) -> str:
    doc = variables()[name].doc
    seen = "cannot be used" if doc.secret else f"cannot be {text[:_QUOTED]!r}"
    why = f": {reason}" if reason else ""
    return f"{name} {seen}{why}; set it to {doc.form.replace('`', '')}"


def _unusable(name: str, text: str) -> str | None:
    if unexpanded(text):
        return (
            f"{name} holds a placeholder such as ${{NAME}} that was never expanded; "
            "set it to the value itself"
        )
    if not text.isascii() and not _is_utf8(text):
        return f"{name} is not UTF-8 text; set it again in a UTF-8 locale"
    return None


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _trimmed(doc: Doc, text: str) -> str:
    # `echo secret | base64` ends many a Kubernetes secret with a line break; inner blanks may be
    # part of a password.
    return text.rstrip("\r\n") if doc.secret else text.strip()


def _field(name: str) -> str:
    return name.removeprefix(PREFIX).lower()


def lookalikes(environ: Mapping[str, str]) -> Iterator[str]:
    """A warning for each name that is not ours and looks like a mistyped one of ours.

    One that stands beside ours is nobody's typo: the real Aragora has some that are nearly ours.
    Under the name of a feature nobody has others, so there each is told that is not read.
    """
    features = tuple(feature.variables for feature in Feature)
    yield from _alike(
        {name: text for name, text in environ.items() if not name.startswith(features)}
    )
    for feature in Feature:
        own = own_variables(environ, feature)
        told = [*_alike(own)]
        yield from (renamed(warning, feature) for warning in told)
        for name in sorted(own.keys() - variables().keys()):
            if not any(warning.startswith(f"{name} ") for warning in told):
                yield f"{renamed(name, feature)} is not read: {names.REDIS}* has no such variable"


def displaced(environ: Mapping[str, str], by: Mapping[str, str]) -> list[str]:
    """The variables of an environment that lead elsewhere beside those that say where Redis is now.

    Each mode has some that the others lack, and so has what led to another deployment before.
    """
    leading = (Group.WHERE, Group.CREDENTIALS, Group.TLS)
    return [
        name
        for name, known in variables().items()
        if known.doc.group in leading and name != names.DEADLINE
        if environ.get(name, "").strip() and name not in by
    ]


def _alike(environ: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name in variables() or name in _OF_ARAGORA:
            continue
        meant = _of_feature(name) or _barely_another(name) or _alike_in_family(name)
        if meant and not environ.get(meant, "").strip():
            yield f"{name} is not read here: is {meant} meant?"


def _of_feature(name: str) -> str | None:
    """The variable of a feature whose word is said otherwise, such as ARAGORA_LIMITS_REDIS_URL."""
    word, found, rest = name.removeprefix(PREFIX).partition("_REDIS_")
    if not found or f"{names.REDIS}{rest}" not in variables():
        return None
    ours = [each.variables.removeprefix(PREFIX).removesuffix("_REDIS_") for each in Feature]
    meant = _FEATURES_ELSEWHERE.get(word) or next(
        iter(difflib.get_close_matches(word, ours, n=1, cutoff=_LIKENESS)), None
    )
    return None if meant is None else f"{PREFIX}{meant}_REDIS_{rest}"


def _barely_another(name: str) -> str | None:
    """One of ours that differs by underscores, a plural, a letter more or less, or two swapped."""
    plain = _plain(name)
    return next((ours for ours in variables() if _one_apart(plain, _plain(ours))), None)


def _plain(name: str) -> str:
    return name.replace("_", "").replace("IES", "Y")


def _one_apart(one: str, other: str) -> bool:
    shorter, longer = sorted((one, other), key=len)
    if len(longer) - len(shorter) > 1:
        return False
    if len(longer) == len(shorter):
        swapped = (one[:at] + one[at + 1] + one[at] + one[at + 2 :] for at in range(len(one) - 1))
        return one == other or other in swapped
    return any(longer[:at] + longer[at + 1 :] == shorter for at in range(len(longer)))


def _alike_in_family(name: str) -> str | None:
    family = next((each for each in _FAMILIES if name.startswith(each)), None)
    if family is None:
        return None
    ours = [each.removeprefix(family) for each in variables() if each.startswith(family)]
    rest = name.removeprefix(family)
    if (same := _ELSEWHERE.get(rest)) in ours:
        return f"{family}{same}"
    near = difflib.get_close_matches(rest, ours, cutoff=_LIKENESS)
    # SENTINEL_MASTER_NAME is nearer to SENTINEL_USERNAME in letters, and not in meaning.
    near.sort(key=rest.startswith, reverse=True)
    return f"{family}{near[0]}" if near else None
