"""`aragora-redis down`: end what an `up` has left running."""

from __future__ import annotations

from pathlib import Path

from ..lab import Lab
from . import pid_file
from .gateway_process import GRACE, pid_paths
from .running_up import lock_path

# As long as an `up` needs for its own end in order.
_UP_SECONDS = 15.0


def end_leftovers(directory: Path) -> tuple[str, ...]:
    """End an `up` that still lives in the directory, then gateways and servers without one.

    Returns:
        Names of what was ended; empty where nothing ran.

    Raises:
        LabError: the directory holds a lab that cannot be understood.
    """
    lab, home = Lab.find(directory), directory.absolute()
    if not home.is_dir():
        return ()
    ups = pid_file.end_holders((lock_path(home),), grace=_UP_SECONDS)
    gateways = pid_file.end_holders(pid_paths(home), grace=GRACE)
    servers = () if lab is None else lab.stop()
    return (*(path.stem for path in (*ups, *gateways)), *servers)
