"""The schema of a request that names none."""

from collections.abc import Sequence

__all__ = ["default_schema"]


def default_schema(schemas: Sequence[str]) -> str:
    """`public` if it is among these or there are none, else the first of them.

    >>> default_schema(["a", "public"]), default_schema(["a", "b"]), default_schema([])
    ('public', 'a', 'public')
    """
    return "public" if "public" in schemas or not schemas else schemas[0]
