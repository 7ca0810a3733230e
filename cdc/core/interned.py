"""One object for equal values: what thousands of subscribers have in common is held once."""

from collections.abc import Hashable
from functools import lru_cache
from typing import TypeVar

__all__ = ["interned"]

T = TypeVar("T", bound=Hashable)


# Typed, because 1 and true are equal in Python. Bounded, because clients choose the values: each must have been
# validated, and be small.
@lru_cache(maxsize=512, typed=True)
def interned(value: T) -> T:
    """The first of the equal values that are in use."""
    return value
