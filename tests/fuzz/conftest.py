from __future__ import annotations

import logging

import pytest


class _Faults(logging.Handler):
    """Keeps what was logged with a traceback: a fault of ours, whatever was fed."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.found.append(logging.Formatter().format(record))

    def assert_none(self) -> None:
        found, self.found = self.found, []
        assert not found, "\n".join(found)


@pytest.fixture
def faults():
    """What was logged with a traceback while the test ran."""
    handler = _Faults()
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)
