"""What Flask's users put into a session: also what JSON has not."""

from __future__ import annotations

from typing import Any

from flask.json.tag import JSONTag, TaggedJSONSerializer, TagMarkup

from ...errors import SessionDataError
from ..session import Values


class _Text(JSONTag):
    """Markup is stored as text, and escaped when it is shown again.

    A session may be written by services of other kinds too, and may hold what their clients sent:
    a tag for markup would have it believed.
    """

    __slots__ = ()

    def check(self, value: Any) -> bool:
        return callable(getattr(value, "__html__", None))

    def to_json(self, value: Any) -> Any:
        return str(value)

    tag = to_json


class _Tags(TaggedJSONSerializer):
    default_tags = [  # noqa: RUF012 - as it is declared there
        _Text if tag is TagMarkup else tag for tag in TaggedJSONSerializer.default_tags
    ]


class TaggedValues(Values):
    """As in Flask's own sessions: tuples (of which `flash` makes some), bytes, UUIDs, times."""

    def __init__(self) -> None:
        self._tags = _Tags()

    def stored(self, data: dict[str, Any]) -> dict[str, Any]:
        """Fields with tags for what JSON has not."""
        try:
            return {name: self._tags.tag(value) for name, value in data.items()}
        except RecursionError:
            raise SessionDataError("a field of the session is nested too deep") from None
        except ArithmeticError:  # such as a time before the first there is
            raise SessionDataError("a field of the session cannot be written") from None

    def given(self, data: dict[str, Any]) -> dict[str, Any]:
        """Fields without tags."""
        return {name: self._untagged(value) for name, value in data.items()}

    def _untagged(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._untagged(each) for each in value]
        if not isinstance(value, dict):
            return value
        found = {name: self._untagged(each) for name, each in value.items()}
        try:
            return self._tags.untag(found)
        except (ArithmeticError, AttributeError, TypeError, ValueError, StopIteration):
            return found  # another service has put it there, and means nothing by it
