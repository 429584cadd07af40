"""The hash slot of a key.

Source: Redis cluster specification, "Key distribution model" and "Hash tags".
"""

from __future__ import annotations

from binascii import crc_hqx
from typing import Final

SLOTS: Final = 16_384
"""Hash slots of a cluster."""


def key_slot(key: bytes) -> int:
    """The slot that a key belongs to.

    What is between its first `{` and the first `}` after it counts alone, unless that is nothing;
    so keys that share it share a slot.
    """
    opened = key.find(b"{")
    if opened >= 0:
        closed = key.find(b"}", opened + 1)
        if closed > opened + 1:
            key = key[opened + 1 : closed]
    return crc_hqx(key, 0) % SLOTS
