"""`python -m aragora_redis` is the command `aragora-redis`."""

from __future__ import annotations

from .cli import main

main()
