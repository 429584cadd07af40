"""Tasks of a service: with its limits, its circuits, and the tokens that it has revoked."""

from __future__ import annotations

import os
from random import uniform
from typing import Any

from celery import Celery, Task

from aragora_redis import CircuitOpenError, LimitExceededError, OutageError
from aragora_redis.sync import SharedState

app = Celery("app", broker=os.environ["CELERY_BROKER_URL"])
app.conf.result_backend = os.environ["CELERY_BROKER_URL"]

# In a worker that forks its pool, each child starts it at its first task, and closes it at its end.
state = SharedState.from_env()
state.start()


@app.task(bind=True, max_retries=None)
def send_mail(self: Task, user: str) -> int:
    """Sends a mail as soon as the user's limit, and the mail server, allow it."""
    try:
        with state.rate_limits.limit("mail", f"user:{user}"), state.circuits["smtp"]:
            return deliver(user)
    except (LimitExceededError, CircuitOpenError, OutageError) as refused:
        # Not all at once when the time has come: those that are refused again have gained nothing.
        wait = refused.retry_after * uniform(1.0, 1.5)
        raise self.retry(exc=refused, countdown=wait) from refused


@app.task
def export(claims: dict[str, Any]) -> str:
    """Works for whoever holds a token, unless it was revoked while this waited in the queue."""
    if state.tokens.is_revoked(claims):
        return "revoked"
    return f"done by {os.getpid()}"


@app.task
def quote(*, up: bool = True) -> str:
    """Spares the upstream while it fails, in all workers."""
    with state.circuits["celery-quotes"]:
        if not up:
            raise ConnectionError("the upstream does not answer")
        return "42"


def deliver(user: str) -> int:
    del user
    return os.getpid()
