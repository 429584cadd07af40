"""The one state of a Django project, for all of its threads."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from ...errors import SettingsError
from ...state.shared import START_LIMIT
from ...sync import SharedState
from .options import NAME, options

_lock = threading.Lock()
_made: SharedState | None = None


def get_state() -> SharedState:
    """The state of this project, started at the first use, which waits until it is ready.

    It is made from `ARAGORA_*`, or is the one that `ARAGORA = {"STATE": ...}` names. A worker that
    is forked after that begins it for itself. Like all of `aragora_redis.sync` it must not be asked
    from a coroutine: an async view awaits `sync_to_async(get_state().tokens.revoke)(...)`.

    Raises:
        ImproperlyConfigured: it cannot be made so.
    """
    global _made  # noqa: PLW0603 - a process has one
    if _made is None:
        with _lock:
            if _made is None:
                made = planned()
                made.start()
                # In a thread: an ASGI server loads the application in its event loop.
                with ThreadPoolExecutor(1) as elsewhere:
                    elsewhere.submit(made.wait_ready, START_LIMIT).result()
                _made = made
    return _made


def planned() -> SharedState:
    """The state as it would be made, or is; nothing is started by looking.

    Raises:
        ImproperlyConfigured: it cannot be made so.
    """
    if _made is not None:
        return _made
    path = options().state
    try:
        return SharedState.from_env() if path is None else _own(path)
    except (SettingsError, ImportError) as error:
        raise ImproperlyConfigured(str(error)) from None


def _own(path: str) -> SharedState:
    found = import_string(path)
    if not isinstance(found, SharedState):
        raise ImproperlyConfigured(f"{NAME}['STATE'] is no aragora_redis.sync.SharedState: {path}")
    return found
