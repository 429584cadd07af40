"""A Redis of its own for one feature: `ARAGORA_TOKENS_REDIS_URL` and its like. Pure.

They are the variables of all under other names, so each is read, judged and explained as the one
that it stands for is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from . import names
from .choice import mode_of
from .features import own_variables, renamed
from .model import Feature
from .reading import Reading, read


def readings_apart(environ: Mapping[str, str]) -> dict[Feature, Reading]:
    """What is said of features that have a Redis of their own, in the names of all."""
    return {feature: read(own) for feature in Feature if (own := own_variables(environ, feature))}


def none_is_left(reading: Reading, apart: Mapping[Feature, Reading]) -> bool:
    """Whether each feature has its own and nothing is said of others: the tokens' is for all."""
    unsaid = mode_of(reading) == "embedded" and names.MODE not in reading.given
    return unsaid and apart.keys() == set(Feature)


def leading_nowhere(
    reading: Reading, apart: Mapping[Feature, Reading], given: Mapping[str, str]
) -> Iterator[str]:
    """A sentence for each feature whose variables say nothing of where its Redis is.

    Args:
        reading: what is said of all.
        apart: and of features.
        given: the environment.
    """
    for feature, own in apart.items():
        theirs = {name: text for name, text in given.items() if name.startswith(feature.variables)}
        named = _are_set(name for name, text in theirs.items() if text.strip())
        if mode_of(own) == "embedded":
            yield (
                f"{named}, but nothing says where the Redis of {feature} is; "
                f"set {renamed(names.URL, feature)}, or unset it"
            )
        elif mode_of(reading) == "embedded" and not none_is_left(reading, apart):
            yield (
                f"{named}, but nothing says where the Redis of the other features is; "
                f"set {names.URL}, {names.HOSTS} and {names.MASTER}, or {names.CLUSTER_NODES}"
            )


def _are_set(several: Iterable[str]) -> str:
    *others, last = sorted(several)
    return f"{', '.join(others)} and {last} are set" if others else f"{last} is set"
