"""Whether uWSGI lets a state live that is started where it loads an application.

Its master forks without what Python runs at a fork, unless it is told. A worker would take the
state for its own: calls would wait for a thread that is not there, and tokens be judged for good by
what was revoked when the application was loaded.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from ..errors import SettingsError

HOOKS = ("py-call-uwsgi-fork-hooks", "py-call-osafterfork")
UNSET = {None, b"false", b"0", b"no", b"off"}


def refuse_unfit() -> None:
    """Refuse to start in a process that will fork so.

    Raises:
        SettingsError: workers are forked from this process, and nothing is run then.
    """
    uwsgi = sys.modules.get("uwsgi")  # only where uWSGI runs this
    if uwsgi is None or uwsgi.worker_id() > 0:
        return
    options: Mapping[str, object] = uwsgi.opt
    forks = uwsgi.masterpid() > 0 or uwsgi.numproc > 1
    if forks and all(options.get(name) in UNSET for name in HOOKS):
        raise SettingsError(
            "uWSGI forks its workers from this process without telling Python",
            remedy="set enable-threads, and lazy-apps or py-call-uwsgi-fork-hooks, to true",
        )
