"""A local port that leads to the current primary, for programs that cannot follow it themselves.

`plan.py` says what may be asked for, `proof.py` how long a proof counts, `followers.py` which
replicas may be read, `figures.py` what is counted, all PURE. `lead.py` knows the primary and when
bytes may pass, `readers.py` the replicas; `passage.py` copies, `dial.py` connects and `door.py`
listens; `server.py` wires.
"""

from .plan import Plan
from .server import Proxy, run

__all__ = ["Plan", "Proxy", "run"]
