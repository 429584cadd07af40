"""What errors are to whoever asks a service, of whatever framework."""

from __future__ import annotations

from ..errors import AragoraRedisError, TokenRefusedError
from .bearer import refusal
from .problems import Problem, ProblemError, problem_outside

OURS = (AragoraRedisError, ProblemError)
"""Errors that are answered as problems."""


def answer_to(error: AragoraRedisError | ProblemError, realm: str = "api") -> Problem:
    """How an error is answered, without a word of how the service is built.

    Args:
        error: what was raised.
        realm: what clients are told that tokens are for.
    """
    match error:
        case ProblemError():
            return error.problem
        case TokenRefusedError():
            return refusal(error, realm)
    return problem_outside(error)
