"""The end of the interpreter. Pure."""

from __future__ import annotations


def is_interpreter_shutdown(error: BaseException) -> bool:
    """Whether an error only says that Python starts no more threads, because the program ends.

    A client that was not closed is then left as it is: no handler is left to report to.
    """
    return isinstance(error, RuntimeError) and "after" in str(error) and "shutdown" in str(error)
