"""What can go wrong, told so that a caller can act on it.

Every error says what happened, whether the operation ran, and what to do next. `ran` is the field
that decides about a retry: `Ran.NO` may always be tried again, `Ran.UNKNOWN` only where the
operation is safe to replay.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any


class Ran(StrEnum):
    """Whether the operation took effect in Redis."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


class AragoraRedisError(Exception):
    """Root of all errors of this package.

    Attributes:
        message: what happened.
        ran: whether the operation took effect.
        remedy: what the reader can do about it, one sentence; empty where nothing helps.
    """

    ran: Ran = Ran.NO
    remedy: str = ""

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        # `args` stays what the error was made of: Celery makes it anew from that in the caller.
        self.message = message
        if remedy is not None:
            self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} ({self.remedy})" if self.remedy else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        # What is said by name, or put in later, goes along; and a pool of processes in which an
        # error cannot be made anew breaks, or waits for good.
        return _remade, (type(self), self.args, vars(self))


def _remade(kind: type[AragoraRedisError], args: tuple[Any, ...], facts: dict[str, Any]) -> Any:
    error = kind.__new__(kind, *args)
    vars(error).update(facts)
    return error


class SettingsError(AragoraRedisError):
    """The environment, a URL or a file does not describe a usable configuration."""


class InvalidInputError(AragoraRedisError):
    """An argument is outside what the operation accepts; nothing was sent."""

    remedy = "correct what the message names, and ask again"


class UnknownPolicyError(InvalidInputError):
    """No policy of that name is loaded."""


class LevelUnavailableError(InvalidInputError):
    """The acknowledgement level asked for cannot be given by this deployment."""


class TokenRefusedError(InvalidInputError):
    """A token is not accepted: whoever presents it needs another one."""

    remedy = "send a token that is valid, as it was issued"


class TokenInvalidError(TokenRefusedError):
    """The token cannot be read, is not signed by whom it should be, or is not meant for us."""


class TokenExpiredError(TokenRefusedError):
    """The token was good, and its time is over."""


class TokenRevokedError(TokenRefusedError):
    """The token was good, and was revoked."""


class RefreshReusedError(TokenRefusedError):
    """A refresh token was presented that had been used before, so all of its family has ended."""

    remedy = "let the user log in again"


class SessionDataError(InvalidInputError):
    """The data is not what a session can hold: too large, or of a type that JSON has not."""


class RefreshRacedError(AragoraRedisError):
    """Another request has just used this refresh token; it is no theft yet."""

    remedy = "use what the other request was given, or ask again with its nonce"


class SessionGoneError(AragoraRedisError):
    """There is no such session: it has ended, or never was."""


class SessionUnreadableError(SessionGoneError):
    """What is stored of a session cannot be read, so it counts as none.

    Attributes:
        reason: `unknown-key` (sealed with a key that is not listed here), `tampered` (it was not
            sealed for this place), `plain` (not sealed, which is not accepted), or `not-json` (a
            field is none).
    """

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"a stored session cannot be read ({reason})",
            remedy="list the key that it was sealed with in ARAGORA_SESSION_KEYS, or log in again",
        )
        self.reason = reason


class SessionConflictError(AragoraRedisError):
    """The session was changed since it was read, where this update would change it too."""

    remedy = "read the session again, and decide anew"


class TooManySessionsError(AragoraRedisError):
    """The user has as many sessions as the policy allows."""

    remedy = "end one of the user's sessions first"


class CircuitOpenError(AragoraRedisError):
    """The circuit does not let this call through; nothing was called.

    Attributes:
        circuit: its name.
        state: `open`, `half-open` (all trial calls are taken) or `forced-open`.
        retry_after: seconds after which another attempt is sensible.
    """

    def __init__(self, circuit: str, state: str, retry_after: float) -> None:
        super().__init__(f"the circuit {circuit!r} is {state}", remedy="try again later")
        self.circuit = circuit
        self.state = state
        self.retry_after = retry_after


class LimitExceededError(AragoraRedisError):
    """The subject is over its limit; nothing was called.

    Attributes:
        limit: its name.
        retry_after: seconds until the same call may pass.
    """

    def __init__(self, limit: str, retry_after: float) -> None:
        super().__init__(f"over the limit {limit!r}", remedy=f"wait {retry_after:.1f} s")
        self.limit = limit
        self.retry_after = retry_after


class CircuitFullError(AragoraRedisError):
    """As many calls as the bulkhead allows are under way here; nothing was called.

    Attributes:
        circuit: its name.
        retry_after: seconds after which another attempt is sensible.
    """

    def __init__(self, circuit: str) -> None:
        super().__init__(
            f"too many calls of {circuit!r} are under way on this instance",
            remedy="try again later, or raise max_concurrent",
        )
        self.circuit = circuit
        self.retry_after = 1.0


class NotStartedError(AragoraRedisError):
    """A state was asked before `start` or after `close`: no outage, but a slip of the program."""

    remedy = (
        "call start() first and close() last, as `with` and `FastAPI(lifespan=lifespan(state))` do"
    )

    def __init__(
        self, message: str = "the state is not started, or was closed", *, remedy: str | None = None
    ) -> None:
        super().__init__(message, remedy=remedy)


class OutageError(AragoraRedisError):
    """The operation did not run, because Redis could not be asked or refused it.

    Attributes:
        retry_after: seconds after which another attempt is sensible.
    """

    remedy = "try again shortly"

    def __init__(
        self, message: str, *, remedy: str | None = None, retry_after: float = 1.0
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after = retry_after


class LinkDownError(OutageError):
    """There is no verified connection to the primary now."""


class LinkSilentError(LinkDownError):
    """The primary has not answered what was sent before, so nothing more is; it may yet."""


class OverloadedError(OutageError):
    """The bounded queue to Redis is full."""


class DeadlineError(OutageError):
    """The deadline passed before the operation was sent, or before it reached Redis."""


class RefusedError(OutageError):
    """Redis answered, and refused the operation in its present state.

    Attributes:
        code: first word of the error reply (`NOREPLICAS`, `OOM`, `READONLY`, ...).
    """

    def __init__(self, code: str, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.code = code


class LimitUnavailableError(OutageError):
    """A fail-closed rate limit cannot be decided during an outage, so the request is refused.

    Where Redis was asked and did not answer in time, `ran` is `unknown`: the tokens of the refused
    request may be taken.
    """


class NotReadyError(OutageError):
    """This instance has not loaded the revocations yet, so it cannot vouch for any token."""


class KeysUnavailableError(OutageError):
    """The keys of an issuer are not known, so this instance cannot vouch for its tokens."""


class StaleError(OutageError):
    """What this instance knows is older than its risk policy allows."""


class OutcomeUnknownError(AragoraRedisError):
    """The operation was sent and no trustworthy answer came: it may have run."""

    ran = Ran.UNKNOWN
    remedy = "read back before repeating"


class UnexpectedReplyError(AragoraRedisError):
    """Redis answered something that the operation cannot mean."""

    ran = Ran.UNKNOWN


class LayoutError(AragoraRedisError):
    """The data under the key prefix was written in a layout that this version does not know."""


class LabError(AragoraRedisError):
    """A local test topology could not be started, found or changed."""
