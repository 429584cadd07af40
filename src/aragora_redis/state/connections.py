"""Every Redis of one instance: one for all features, or several where some have their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from ..settings import Feature, Settings
from .connected import Connected, Hearers, Instance
from .followed import Followed


class Connections:
    """What this instance is connected to, by feature; what leads to the same is one.

    Args:
        settings: those of all.
        instance: whose they are.
        hearers: by feature, told of what its Redis does.
        prepared, outbox: see `Followed`.
    """

    def __init__(
        self,
        settings: Settings,
        instance: Instance,
        hearers: Mapping[Feature, Hearers],
        *,
        prepared: Callable[[], Coroutine[Any, Any, None]],
        outbox: Callable[[], str],
    ) -> None:
        shared = settings.each_redis()
        self._by_feature: dict[Feature, Connected] = {}
        for own, features in shared.items():
            heard = Hearers.of_all([hearers[feature] for feature in features])
            told = features if len(shared) > 1 else ()
            decides = Feature.LIMITS in features
            made: Connected
            if Feature.TOKENS in features:
                self.of_tokens = made = Followed(
                    own,
                    instance,
                    heard,
                    features=told,
                    decides=decides,
                    prepared=prepared,
                    outbox=outbox,
                )
            else:
                made = Connected(own, instance, heard, features=told, decides=decides)
            self._by_feature |= dict.fromkeys(features, made)
        rest = settings.of(None)
        self.principal = next(
            (each for each in self._by_feature.values() if each.settings == rest), self.of_tokens
        )
        """That of the features which have none of their own, if there are any."""
        self.all: Sequence[Connected] = tuple(dict.fromkeys(self._by_feature.values()))
        """Each once."""

    def of(self, feature: Feature) -> Connected:
        """The Redis of a feature."""
        return self._by_feature[feature]

    def down(self, features: tuple[str, ...]) -> str | None:
        """Why that of some features, or of all, cannot be written now, or None."""
        return next((each.reach.down for each in self.all if each.features == features), None)

    @property
    def lacks(self) -> tuple[str, ...]:
        """What they do not offer of what is used, see `Reach.lacks`."""
        return tuple(dict.fromkeys(lack for each in self.all for lack in each.reach.lacks))

    def troubles(self) -> dict[str, str]:
        """What cannot be reached now, and why; with whose Redis it is where there are several."""
        found: dict[str, str] = {}
        for each in self.all:
            whose = f" of {', '.join(each.features)}" if each.features else ""
            found |= {what + whose: why for what, why in each.troubles().items()}
        return found

    def start(self) -> None:
        """Connect and follow in the background."""
        for each in self.all:
            each.start()

    async def close(self) -> None:
        """End all connections and tasks."""
        await asyncio.gather(*(each.close() for each in self.all))
