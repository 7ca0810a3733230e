"""Work in steps: a generator that yields between them, so that its caller may do something else meanwhile."""

from collections.abc import Generator
from typing import TypeVar

__all__ = ["run_steps"]

T = TypeVar("T")


def run_steps(steps: Generator[None, None, T]) -> T:
    """What the generator returns; all steps at once.

    >>> def doubled(numbers):
    ...     done = []
    ...     for number in numbers:
    ...         done.append(2 * number)
    ...         yield
    ...     return done
    >>> run_steps(doubled([1, 2]))
    [2, 4]
    """
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
