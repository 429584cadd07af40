"""Which variables of an environment belong into the manifests. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from ...settings.doc import Group
from ...settings.environment import variables

_GROUPS = {Group.LIMITS, Group.TOKENS, Group.SESSIONS, Group.GENERAL, Group.GATEWAY}
_OF_ONE_PLACE = {
    "ARAGORA_POLICIES",
    "ARAGORA_TOKENS_OUTBOX",
    "ARAGORA_INSTANCE_ID",
    "ARAGORA_HOST",
    "ARAGORA_PORT",
}
"""They mean this machine: a file of it, an instance on it, an address of it."""


def carried(environ: Mapping[str, str]) -> dict[str, str]:
    """What a deployment shall share with this environment: no secret, and nothing of one place.

    Where Redis is, and how it is reached, the manifests say themselves.
    """
    return {
        name: environ[name]
        for name, variable in variables().items()
        if environ.get(name)
        and variable.doc.group in _GROUPS
        and not variable.doc.secret
        and name not in _OF_ONE_PLACE
    }
