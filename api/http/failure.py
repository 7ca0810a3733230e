"""What a request that failed is answered, whichever way it took."""

import logging
from collections.abc import Sequence
from typing import Any

from cdc.errors import InvalidInput, OutOfReach, SourceError, TooBusy

from .answer import Answer, problem_answer
from .problem import Problem

__all__ = ["INTERNAL_ERROR", "answer_to", "invalid_parameter"]

logger = logging.getLogger(__name__)

INTERNAL_ERROR = Answer(500, ((b"content-type", b"text/plain; charset=utf-8"),), b"Internal Server Error")
"""The answer to a request that failed for an unexpected reason."""


def answer_to(error: Exception) -> Answer | None:
    """The answer to a request that raised one of our errors; None for any other error."""
    match error:
        case Problem():
            return problem_answer(error)
        case SourceError():
            logger.warning(
                "A request failed because the database does not respond",
                extra={"action": "request_failed", "reason": str(error)},
            )
            return problem_answer(Problem.of(error))
        case InvalidInput() | OutOfReach() | TooBusy():
            return problem_answer(Problem.of(error))
        case _:
            return None


def invalid_parameter(errors: Sequence[Any]) -> Problem:
    """The problem of a request whose parameters FastAPI refuses, from its list of errors."""
    first = errors[0]
    name = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
    return Problem(400, "invalid_parameter", f"{name}: {first['msg']}", fields={"parameter": name})
