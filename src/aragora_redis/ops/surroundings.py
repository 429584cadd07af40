"""What the gateways of a local deployment take from the environment that it is started in. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..settings import Feature, names
from ..settings.doc import Group
from ..settings.environment import variables

_INSTANCE_ID = "ARAGORA_INSTANCE_ID"

# The lab answers these itself: where Redis is, and the secrets that its clients share.
_LAB = (
    names.MODE,
    names.GATEWAY_TOKEN,
    names.ADMIN_TOKEN,
    names.DIGEST_KEY,
    names.JWT_SECRET,
    names.JWT_SECRET_PREVIOUS,
    names.JWT_SECRET_FILE,
    names.JWT_JWKS_URL,
)
_LAB_GROUPS = (Group.WHERE, Group.CREDENTIALS, Group.TLS)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """An environment, without what would lead away from the lab."""

    kept: Mapping[str, str]
    ignored: tuple[str, ...]
    """Names of the variables that were left out."""

    def of_gateway(self, lab: Mapping[str, str], port: int) -> dict[str, str]:
        """The environment of the gateway on a port.

        Args:
            lab: what leads to the lab's servers, and its secrets.
            port: names the instance.
        """
        instance = self.kept.get(_INSTANCE_ID) or "gateway"
        return {
            **self.kept,
            **lab,
            names.FAIL_OPEN: self.kept.get(names.FAIL_OPEN, "").strip() or "true",
            _INSTANCE_ID: f"{instance}-{port}",
        }


def surroundings(environ: Mapping[str, str]) -> Surroundings:
    """Take an environment apart."""
    documented = variables().values()
    taken = {each.name for each in documented if each.doc.group in _LAB_GROUPS}.union(_LAB)
    taken.discard(names.DEADLINE)
    apart = tuple(feature.variables for feature in Feature)
    left_out = {name for name in environ if name in taken or name.startswith(apart)}
    kept = {name: text for name, text in environ.items() if name not in left_out}
    given = (name for name in left_out if environ[name].strip())
    return Surroundings(kept, tuple(sorted(given)))
