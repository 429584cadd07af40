"""Keep the Service `redis-master` true: the primary's pod is `role=master`, all others `replica`.

`labels.py` decides what to write and in which order, PURE; `witness.py` knows who is primary for
certain, `cluster.py` asks and writes Kubernetes, `keeper.py` has them do so again and again, and
`probes.py` answers whether it does.
"""

from .cluster import Cluster
from .keeper import LabelKeeper, Outcome
from .probes import serve_probes
from .witness import Witness

__all__ = ["Cluster", "LabelKeeper", "Outcome", "Witness", "serve_probes"]
