"""What is there only with an extra of this package, and what whoever lacks it is told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from .errors import SettingsError


def installing(extra: str) -> str:
    """How an extra is installed: the package is not published, so its name leads nowhere."""
    return f"install its extra: pip install '/path/to/this/checkout[{extra}]'"


def demand(what: str, modules: Iterable[str], extra: str) -> None:
    """Make sure that modules are installed, without importing one.

    Raises:
        SettingsError: they are not.
    """
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise SettingsError(f"{what} needs {', '.join(missing)}", remedy=installing(extra))


@contextmanager
def imported_with(extra: str, what: str) -> Iterator[None]:
    """A context for the imports of a room that is there only with an extra.

    Raises:
        ModuleNotFoundError: something is not installed; it says what to install.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == __package__:
            raise
        told = f"{what} needs {error.name}; {installing(extra)}"
        raise ModuleNotFoundError(told, name=error.name, path=error.path) from None
